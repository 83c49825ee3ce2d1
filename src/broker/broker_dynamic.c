// SPDX-License-Identifier: Apache-2.0
// Which of the broker's configs can be changed while it runs: Kafka's lists. Pure, any thread.
#include "broker/configs_table.h"
#include "broker/dynamic.h"

static const char *const per_broker[] = {
    "cordoned.log.dirs", "listener.security.protocol.map", "listeners", "principal.builder.class", "sasl.enabled.mechanisms", "sasl.jaas.config",
    "sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin", "sasl.kerberos.principal.to.local.rules", "sasl.kerberos.service.name",
    "sasl.kerberos.ticket.renew.jitter", "sasl.kerberos.ticket.renew.window.factor", "sasl.login.refresh.buffer.seconds",
    "sasl.login.refresh.min.period.seconds", "sasl.login.refresh.window.factor", "sasl.login.refresh.window.jitter",
    "sasl.mechanism.inter.broker.protocol", "ssl.cipher.suites", "ssl.client.auth", "ssl.enabled.protocols",
    "ssl.endpoint.identification.algorithm", "ssl.engine.factory.class", "ssl.key.password", "ssl.keymanager.algorithm",
    "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.password", "ssl.keystore.type", "ssl.protocol",
    "ssl.provider", "ssl.secure.random.implementation", "ssl.trustmanager.algorithm", "ssl.truststore.certificates", "ssl.truststore.location",
    "ssl.truststore.password", "ssl.truststore.type",
};
static const char *const cluster_wide[] = {
    "background.threads", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
    "errors.deadletterqueue.auto.create.topics.enable", "errors.deadletterqueue.topic.name.prefix",
    "follower.fetch.last.tiered.offset.enable", "follower.replication.throttled.rate", "group.consumer.assignment.interval.ms",
    "group.coordinator.cached.buffer.max.bytes", "group.share.assignment.interval.ms", "group.streams.assignment.interval.ms",
    "leader.replication.throttled.rate", "log.cleaner.backoff.ms", "log.cleaner.dedupe.buffer.size", "log.cleaner.delete.retention.ms",
    "log.cleaner.io.buffer.load.factor", "log.cleaner.io.buffer.size", "log.cleaner.io.max.bytes.per.second", "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio", "log.cleaner.min.compaction.lag.ms", "log.cleaner.threads", "log.cleanup.policy",
    "log.flush.interval.messages", "log.flush.interval.ms", "log.index.interval.bytes", "log.index.size.max.bytes", "log.local.retention.bytes",
    "log.local.retention.ms", "log.message.timestamp.after.max.ms", "log.message.timestamp.before.max.ms", "log.message.timestamp.type",
    "log.preallocate", "log.remote.copy.lag.bytes", "log.remote.copy.lag.ms",
    "log.retention.bytes", "log.retention.ms", "log.roll.jitter.ms", "log.roll.ms", "log.segment.bytes",
    "log.segment.delete.delay.ms", "max.connection.creation.rate", "max.connections", "max.connections.per.ip", "max.connections.per.ip.overrides",
    "max.decompressed.message.bytes",
    "message.max.bytes", "metric.reporters", "min.insync.replicas", "num.io.threads", "num.network.threads", "num.recovery.threads.per.data.dir",
    "num.replica.fetchers", "producer.id.expiration.ms", "remote.fetch.max.wait.ms", "remote.list.offsets.request.timeout.ms",
    "remote.log.index.file.cache.total.size.bytes", "remote.log.manager.copier.thread.pool.size", "remote.log.manager.copy.max.bytes.per.second",
    "remote.log.manager.expiration.thread.pool.size", "remote.log.manager.fetch.max.bytes.per.second", "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads", "replica.alter.log.dirs.io.max.bytes.per.second", "share.coordinator.cached.buffer.max.bytes",
    "transaction.partition.verification.enable", "unclean.leader.election.enable",
};

static bool is_in(const char *const *names, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

// Certificates and keys: changed for one listener at a time.
static const char *const certificates[] = {
    "ssl.key.password", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.keystore.location", "ssl.keystore.password", "ssl.keystore.type",
    "ssl.truststore.certificates", "ssl.truststore.location", "ssl.truststore.password", "ssl.truststore.type",
};

// Dynamic with Kafka, and read here when the listeners open: kept they would be shown and mean nothing.
static const char *const at_start[] = {
    "listener.security.protocol.map", "listeners", "sasl.enabled.mechanisms", "sasl.jaas.config",
    "ssl.cipher.suites", "ssl.client.auth", "ssl.enabled.protocols",
};

bool configs_at_start(const char *name) { return is_in(at_start, sizeof at_start / sizeof *at_start, name); }

bool configs_listener_only(const char *name) { return is_in(certificates, sizeof certificates / sizeof *certificates, name); }

const char *configs_of_listener(const char *name) {
    static const char prefix[] = "listener.name.";
    const char *end = strncmp(name, prefix, sizeof prefix - 1) != 0 ? NULL : strchr(name + sizeof prefix - 1, '.');
    return end != NULL && end > name + sizeof prefix - 1 && configs_listener_only(end + 1) ? end + 1 : NULL;
}

enum config_dynamic configs_dynamic(const char *name) {
    if (configs_of_listener(name) != NULL) return CONFIG_PER_BROKER;
    if (is_in(per_broker, sizeof per_broker / sizeof *per_broker, name)) return CONFIG_PER_BROKER;
    return is_in(cluster_wide, sizeof cluster_wide / sizeof *cluster_wide, name) ? CONFIG_CLUSTER_WIDE : CONFIG_READ_ONLY;
}
