// SPDX-License-Identifier: Apache-2.0
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Produced;

/**
 * A word count and a windowed join by Kafka Streams, whose output can be foretold exactly.
 * fill FROM TO: writes lines and events of these numbers. run: until it is killed. verify N: the output of N lines and events, each
 * result once and no other. seen: how many committed results there are.
 */
public final class StreamsProof {
    private static final String LINES = "lines", LEFT = "left", RIGHT = "right", COUNTS = "counts", JOINED = "joined";
    private static final String[] TOPICS = {LINES, LEFT, RIGHT, COUNTS, JOINED};
    private static final int WORDS = 200, KEYS = 40, WINDOW_MS = 5_000;

    private StreamsProof() {
    }

    public static void main(String[] args) throws Exception {
        String servers = args[1];
        switch (args[0]) {
            case "fill" -> fill(servers, Integer.parseInt(args[2]), Integer.parseInt(args[3]));
            case "run" -> run(servers, args[2], args[3], args[4]);
            case "seen" -> System.out.println(read(servers, COUNTS, 1, 3).size() + read(servers, JOINED, 1, 3).size());
            case "verify" -> verify(servers, Integer.parseInt(args[2]), Integer.parseInt(args[3]));
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    // ---- what goes in ----
    private static String line(int i) {
        Random random = new Random(i);
        return random.ints(5, 0, WORDS).mapToObj(w -> "w" + w).collect(Collectors.joining(" "));
    }

    private static long leftTime(int i) {
        return 1_700_000_000_000L + i * 100L;
    }

    private static long rightTime(int i) {
        return leftTime(i) + new Random(~i).nextInt(8_000);
    }

    private static void fill(String servers, int from, int to) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", servers);
        try (Admin admin = Admin.create(p)) {
            Set<String> there = admin.listTopics().names().get();
            admin.createTopics(Arrays.stream(TOPICS).filter(t -> !there.contains(t))
                .map(t -> new NewTopic(t, 4, (short) 1).configs(Map.of("retention.ms", "-1"))).toList()).all().get();
        }
        p.put("enable.idempotence", "true");
        p.put("linger.ms", "5");
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            for (int i = from; i < to; i++) {
                producer.send(new ProducerRecord<>(LINES, null, leftTime(i), "l" + i, line(i)));
                producer.send(new ProducerRecord<>(LEFT, null, leftTime(i), "k" + i % KEYS, "L" + i));
                producer.send(new ProducerRecord<>(RIGHT, null, rightTime(i), "k" + i % KEYS, "R" + i));
            }
        }
    }

    // ---- what is done with it ----
    private static void run(String servers, String mode, String dir, String id) throws Exception {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        p.put(StreamsConfig.STATE_DIR_CONFIG, dir);
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put("auto.offset.reset", "earliest");
        p.put("session.timeout.ms", "10000");
        p.put("transaction.timeout.ms", "10000");
        if (mode.equals("streams")) {
            p.put("group.protocol", "streams");
            p.remove("session.timeout.ms"); // the broker's, under this protocol
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.<String, String>stream(LINES).flatMapValues(v -> List.of(v.split(" "))).groupBy((k, v) -> v).count()
            .toStream().to(COUNTS, Produced.with(Serdes.String(), Serdes.Long()));
        KStream<String, String> left = builder.stream(LEFT), right = builder.stream(RIGHT);
        left.join(right, (l, r) -> l + " " + r, JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMillis(WINDOW_MS), Duration.ofDays(1)))
            .to(JOINED);
        KafkaStreams streams = new KafkaStreams(builder.build(), p);
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        streams.start();
        Thread.sleep(Long.MAX_VALUE);
    }

    // ---- what must come out ----
    private static List<ConsumerRecord<String, byte[]>> read(String servers, String topic, int wanted, int seconds) {
        Properties p = new Properties();
        p.put("bootstrap.servers", servers);
        p.put("isolation.level", "read_committed");
        p.put("auto.offset.reset", "earliest");
        List<ConsumerRecord<String, byte[]>> all = new java.util.ArrayList<>();
        try (KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(p, new StringDeserializer(), new org.apache.kafka.common.serialization.ByteArrayDeserializer())) {
            List<TopicPartition> parts = consumer.partitionsFor(topic).stream().map(i -> new TopicPartition(topic, i.partition())).toList();
            consumer.assign(parts);
            consumer.seekToBeginning(parts);
            long end = System.currentTimeMillis() + seconds * 1000L;
            while (System.currentTimeMillis() < end) {
                int before = all.size();
                consumer.poll(Duration.ofMillis(500)).forEach(all::add);
                if (all.size() >= wanted && all.size() == before) break; // one more look for what is too much
            }
        }
        return all;
    }

    private static void check(boolean ok, String what) {
        if (ok) return;
        System.out.println("WRONG: " + what);
        System.exit(1);
    }

    private static void verify(String servers, int n, int seconds) {
        Map<String, Long> words = new HashMap<>();
        int results = 0;
        for (int i = 0; i < n; i++) for (String w : line(i).split(" ")) {
            words.merge(w, 1L, Long::sum);
            results++;
        }
        Map<String, Long> last = new HashMap<>();
        List<ConsumerRecord<String, byte[]>> counts = read(servers, COUNTS, results, seconds);
        for (ConsumerRecord<String, byte[]> r : counts) {
            long v = java.nio.ByteBuffer.wrap(r.value()).getLong();
            check(v == last.getOrDefault(r.key(), 0L) + 1, "count of " + r.key() + " goes from " + last.getOrDefault(r.key(), 0L) + " to " + v
                + " at " + r.partition() + ":" + r.offset());
            last.put(r.key(), v);
        }
        check(last.equals(words), counts.size() + " counts of " + results);
        Set<String> pairs = new HashSet<>();
        for (int i = 0; i < n; i++)
            for (int j = i % KEYS; j < n; j += KEYS)
                if (Math.abs(leftTime(i) - rightTime(j)) <= WINDOW_MS) pairs.add("L" + i + " R" + j);
        List<ConsumerRecord<String, byte[]>> joined = read(servers, JOINED, pairs.size(), seconds);
        Set<String> got = new HashSet<>();
        for (ConsumerRecord<String, byte[]> r : joined) check(got.add(new String(r.value())), "twice: " + new String(r.value()));
        check(got.equals(pairs), joined.size() + " joined of " + pairs.size());
        System.out.println("exact: " + results + " counts, " + pairs.size() + " joined");
    }
}
