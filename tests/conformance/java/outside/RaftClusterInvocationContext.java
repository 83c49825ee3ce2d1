// SPDX-License-Identifier: Apache-2.0
package org.apache.kafka.common.test.junit;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import kafka.server.ControllerServer;
import kafka.server.KafkaBroker;
import org.apache.kafka.clients.Metadata;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.JaasUtils;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.apache.kafka.metadata.BrokerState;
import org.apache.kafka.metadata.MetadataCache;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;
import peers.ExternalBroker;

/**
 * Stands in, on the class path, before the class of this name in Kafka's test library: tests annotated ClusterTest then talk to one
 * broker process. Whatever number of brokers a test wishes for, it gets one, with id 0 and replication factor 1, by PLAINTEXT or by SASL.
 * {@code brokers()} holds a stand-in that can be stopped, started and asked what Kafka's protocol tells; what lies deeper in the broker
 * aborts the test, as do the controllers.
 */
public class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String name;
    private final ClusterConfig config;
    private final boolean combined;

    public RaftClusterInvocationContext(String name, ClusterConfig config, boolean combined) {
        this.name = name;
        this.config = config;
        this.combined = combined;
    }

    @Override
    public String getDisplayName(int index) {
        return name + " [" + index + "] " + config.serverProperties();
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        Outside cluster = new Outside(config, combined);
        BeforeEachCallback before = context -> {
            cluster.check();
            if (config.isAutoStart()) cluster.start();
        };
        AfterTestExecutionCallback after = context -> cluster.broker.remove();
        return List.of(before, after, new ClusterInstanceParameterResolver(cluster));
    }

    private static final class Outside implements ClusterInstance {
        private static final long WAIT_MS = 30_000;

        private final ClusterConfig config;
        private final boolean combined;
        private final ExternalBroker broker;
        private final Map<Integer, KafkaBroker> brokers;
        private final List<Producer<?, ?>> producers = new CopyOnWriteArrayList<>();
        private boolean stopped;

        Outside(ClusterConfig config, boolean combined) {
            this.config = config;
            this.combined = combined;
            Map<String, String> properties = new HashMap<>(config.serverProperties());
            config.perServerOverrideProperties().values().forEach(properties::putAll);
            properties.replaceAll((k, v) ->
                k.endsWith("replication.factor") || k.equals("min.insync.replicas") || k.endsWith("min.isr") ? "1" : v);
            properties.keySet().removeIf(k -> k.equals("broker.rack") || k.equals("node.id") || k.equals("log.dirs")
                || k.contains(" ")); // one test takes a config's documentation for its name
            Map<String, Short> features = new TreeMap<>();
            config.features().forEach((feature, level) -> features.put(feature.featureName(), level));
            features.put(MetadataVersion.FEATURE_NAME, config.metadataVersion().featureLevel());
            // levels that the cluster begins with; the broker's script knows this name
            properties.put("outside.features", features.entrySet().stream()
                .map(e -> e.getKey() + "=" + e.getValue()).collect(Collectors.joining(",")));
            if (sasl()) {
                properties.put("listeners", "SASL_PLAINTEXT");
                properties.putIfAbsent("sasl.enabled.mechanisms", "PLAIN");
                properties.putIfAbsent("sasl.mechanism.inter.broker.protocol", "PLAIN");
                properties.putIfAbsent("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
                properties.putIfAbsent("super.users", "User:" + JaasUtils.KAFKA_PLAIN_ADMIN);
                properties.put("listener.name.sasl_plaintext.plain.sasl.jaas.config",
                    "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"" + JaasUtils.KAFKA_PLAIN_ADMIN
                        + "\" password=\"" + JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD + "\" user_" + JaasUtils.KAFKA_PLAIN_ADMIN + "=\""
                        + JaasUtils.KAFKA_PLAIN_ADMIN_PASSWORD + "\" user_" + JaasUtils.KAFKA_PLAIN_USER1 + "=\""
                        + JaasUtils.KAFKA_PLAIN_USER1_PASSWORD + "\";");
            }
            broker = new ExternalBroker(properties);
            brokers = Map.of(0, standIn(KafkaBroker.class, this::askBroker));
        }

        private boolean sasl() {
            return config.brokerSecurityProtocol() == SecurityProtocol.SASL_PLAINTEXT;
        }

        /** Aborts what one broker outside cannot be asked to do. */
        void check() {
            if (config.brokerSecurityProtocol() != SecurityProtocol.PLAINTEXT && !sasl())
                ExternalBroker.unsupported(config.brokerSecurityProtocol().toString());
        }

        private static <T> T standIn(Class<T> type, InvocationHandler handler) {
            return type.cast(Proxy.newProxyInstance(Outside.class.getClassLoader(), new Class<?>[] {type}, handler));
        }

        private Object askBroker(Object self, java.lang.reflect.Method method, Object[] arguments) throws InterruptedException {
            switch (method.getName()) {
                case "isShutdown": return !broker.running();
                case "brokerState": return broker.running() ? BrokerState.RUNNING : BrokerState.NOT_RUNNING;
                case "startup": broker.start(); return null;
                case "shutdown": broker.stop(); return null;
                case "awaitShutdown":
                    if (Boolean.getBoolean("broker.forgotten")) await(this::producersKnow, "producers that know of no broker");
                    return null;
                case "boundPort": return broker.port();
                case "clusterId": return clusterId();
                case "metadataCache": return standIn(MetadataCache.class, this::askMetadata);
                case "hashCode": return System.identityHashCode(self);
                case "equals": return self == arguments[0];
                case "toString": return "the broker outside";
                default: return ExternalBroker.unsupported("broker." + method.getName() + "()");
            }
        }

        @Override
        public <K, V> Producer<K, V> producer(Map<String, Object> configs) {
            Producer<K, V> made = ClusterInstance.super.producer(configs);
            producers.add(made);
            return made;
        }

        /**
         * Whether all producers have forgotten the broker that went, and with it where their topics are. A client forgets its only broker
         * sooner or later, by chance (when new metadata is due while it may not connect yet); a record sent before is kept until its delivery
         * times out, for twice as long as a test may take.
         */
        private boolean producersKnow() {
            try {
                Field field = KafkaProducer.class.getDeclaredField("metadata");
                field.setAccessible(true);
                for (Producer<?, ?> producer : producers) {
                    Metadata metadata = (Metadata) field.get(producer);
                    if (!metadata.isClosed() && !metadata.fetch().isBootstrapConfigured()) return false;
                }
                return true;
            } catch (ReflectiveOperationException e) {
                throw new AssertionError(e);
            }
        }

        private Object askMetadata(Object self, java.lang.reflect.Method method, Object[] arguments) {
            switch (method.getName()) {
                case "getAliveBrokerNodes":
                case "getBrokerNodes": return List.of(new Node(0, "127.0.0.1", broker.port()));
                case "hasAliveBroker": return arguments[0].equals(0) && broker.running();
                case "numPartitions": return Optional.of(partitions((String) arguments[0])).filter(n -> n > 0);
                default: return ExternalBroker.unsupported("metadataCache." + method.getName() + "()");
            }
        }

        private int partitions(String topic) {
            try (Admin admin = admin()) {
                TopicDescription told = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                return told.partitions().size();
            } catch (ExecutionException e) {
                if (e.getCause() instanceof UnknownTopicOrPartitionException) return 0;
                throw new IllegalStateException(e.getCause());
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException(e);
            }
        }

        @FunctionalInterface private interface Condition {
            boolean holds() throws InterruptedException, ExecutionException;
        }

        private static void await(Condition condition, String what) throws InterruptedException {
            long end = System.currentTimeMillis() + WAIT_MS;
            String last = "";
            while (true) {
                try {
                    if (condition.holds()) return;
                } catch (ExecutionException | IllegalStateException e) {
                    last = ": " + e.getMessage();
                }
                if (System.currentTimeMillis() > end) throw new AssertionError("not in time: " + what + last);
                Thread.sleep(20);
            }
        }

        @Override public Type type() { return combined ? Type.CO_KRAFT : Type.KRAFT; }
        @Override public Map<Integer, KafkaBroker> brokers() { return brokers; }
        @Override public Map<Integer, ControllerServer> controllers() { return ExternalBroker.unsupported("controllers()"); }
        @Override public ClusterConfig config() { return config; }
        @Override public Set<Integer> controllerIds() { return brokerIds(); }
        @Override public Set<Integer> brokerIds() { return brokers.keySet(); }
        @Override public ListenerName clientListener() { return ListenerName.forSecurityProtocol(config.brokerSecurityProtocol()); }
        @Override public ListenerName controllerListenerName() { return ListenerName.normalised("CONTROLLER"); }
        @Override public String bootstrapServers() { return broker.running() ? broker.bootstrap() : lastBootstrap; }
        @Override public String bootstrapControllers() { return ExternalBroker.unsupported("bootstrapControllers()"); }
        @Override public List<Integer> brokerBoundPorts() { return List.of(broker.port()); }
        @Override public List<Integer> controllerBoundPorts() { return ExternalBroker.unsupported("controllerBoundPorts()"); }
        @Override public Set<GroupProtocol> supportedGroupProtocols() { return Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER); }
        @Override public Optional<FaultHandlerException> firstFatalException() { return Optional.empty(); }
        @Override public Optional<FaultHandlerException> firstNonFatalException() { return Optional.empty(); }
        @Override public boolean started() { return broker.running(); }
        @Override public boolean stopped() { return stopped; }
        @Override public void waitForReadyBrokers() { }
        @Override public void ensureConsistentMetadata() { }
        @Override public void ensureConsistentMetadata(Collection<KafkaBroker> b, Collection<ControllerServer> c) { }

        private String lastBootstrap = "";

        @Override
        public void start() {
            broker.start();
            lastBootstrap = broker.bootstrap(); // a test may make a client while the broker is away
        }

        @Override
        public void stop() {
            broker.stop();
            stopped = true;
        }

        @Override
        public void shutdownBroker(int id) {
            one(id);
            broker.stop();
        }

        @Override
        public void startBroker(int id) {
            one(id);
            broker.start();
        }

        private static void one(int id) {
            if (id != 0) ExternalBroker.unsupported("a second broker");
        }

        @Override
        public void createTopic(String topic, int partitions, short replicas, Map<String, String> props)
            throws InterruptedException {
            create(new NewTopic(topic, partitions, (short) 1).configs(props), partitions);
        }

        @Override
        public void createTopicWithAssignment(String topic, Map<Integer, List<Integer>> replicas) throws InterruptedException {
            create(new NewTopic(topic, replicas.size(), (short) 1), replicas.size());
        }

        private void create(NewTopic topic, int partitions) throws InterruptedException {
            try (Admin admin = admin()) {
                admin.createTopics(List.of(topic)).all().get();
            } catch (ExecutionException e) {
                boolean there = e.getCause() instanceof TopicExistsException; // an internal one may be, from the broker's start
                if (!there) throw new IllegalStateException(e.getCause());
            }
            waitTopicCreation(topic.name(), partitions);
        }

        @Override
        public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
            await(() -> partitions(topic) == partitions, topic + " with " + partitions + " partitions");
        }

        @Override
        public void waitTopicDeletion(String topic) throws InterruptedException {
            await(() -> partitions(topic) == 0, "deletion of " + topic);
        }

        @Override
        public void waitAcls(AclBindingFilter filter, Collection<AccessControlEntry> entries) throws InterruptedException {
            await(() -> {
                try (Admin admin = admin()) {
                    Set<AccessControlEntry> found = new HashSet<>();
                    admin.describeAcls(filter).values().get().forEach(binding -> found.add(binding.entry()));
                    return found.equals(new HashSet<>(entries));
                }
            }, "ACLs " + entries);
        }

        @Override
        public String clusterId() {
            try (Admin admin = admin()) {
                return admin.describeCluster().clusterId().get();
            } catch (InterruptedException | ExecutionException e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
