// SPDX-License-Identifier: Apache-2.0
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DescribeStreamsGroupsOptions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.StreamsGroupDescription;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Materialized;

/**
 * A word count with a global table, group.protocol=streams: waits until the broker tells the description of its topology (KIP-1331, from Kafka
 * 4.4 on), prints its status and ends. TopologyProof ADDRESS APPLICATION STATE-FOLDER.
 */
public final class TopologyProof {
    public static void main(String[] args) throws Exception {
        String server = args[0], application = args[1];
        Properties config = new Properties();
        config.put("bootstrap.servers", server);
        config.put("application.id", application);
        config.put("group.protocol", "streams");
        config.put("state.dir", args[2]);
        config.put("default.key.serde", Serdes.StringSerde.class);
        config.put("default.value.serde", Serdes.StringSerde.class);
        StreamsBuilder builder = new StreamsBuilder();
        builder.globalTable("table", Materialized.as("all"));
        builder.<String, String>stream("words").flatMapValues(v -> Arrays.asList(v.split(" "))).groupBy((k, v) -> v)
            .count(Materialized.as("counts")).toStream().mapValues(v -> "" + v).to("counted");
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", server))) {
            admin.createTopics(List.of(new NewTopic("words", 2, (short) 1), new NewTopic("table", 1, (short) 1), new NewTopic("counted", 2, (short) 1))).all().get();
            KafkaStreams streams = new KafkaStreams(builder.build(), config);
            streams.start();
            String status = told(admin, application);
            streams.close(Duration.ofSeconds(20));
            System.out.println("topology description " + status);
            System.exit(status.equals("AVAILABLE") ? 0 : 1);
        }
    }

    private static String told(Admin admin, String application) throws InterruptedException {
        String status = "";
        for (long end = System.nanoTime() + 60_000_000_000L; System.nanoTime() < end; Thread.sleep(100)) {
            try {
                StreamsGroupDescription group = admin.describeStreamsGroups(List.of(application), new DescribeStreamsGroupsOptions().includeTopologyDescription(true))
                    .describedGroups().get(application).get();
                status = group.topologyDescriptionStatus().toString();
                if (group.topologyDescription().isPresent()) return status;
            } catch (ExecutionException e) {
                status = e.getCause().toString(); // not there yet
            }
        }
        return status;
    }
}
