// SPDX-License-Identifier: Apache-2.0
//! rdkafka (Rust): admin, produce, a group with a rebalance, transactions. One line a check.
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn config(broker: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", broker);
    for (k, v) in more {
        c.set(*k, *v);
    }
    c
}

fn check(name: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => println!("ok {name}"),
        Err(e) => println!("FAIL {name} {}", e.to_string().replace('\n', " ")),
    }
}

async fn admin(broker: &str, topic: &str) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(broker, &[]).create()?;
    let out = format!("{topic}-tx");
    let topics = [NewTopic::new(topic, 4, TopicReplication::Fixed(1)).set("retention.ms", "3600000"), NewTopic::new(&out, 1, TopicReplication::Fixed(1))];
    for r in admin.create_topics(&topics, &AdminOptions::new()).await? {
        r.map_err(|(t, e)| format!("{t}: {e}"))?;
    }
    let configs = admin.describe_configs(&[ResourceSpecifier::Topic(topic)], &AdminOptions::new()).await?;
    let resource = configs.into_iter().next().ok_or("no answer")??;
    let value = resource.get("retention.ms").and_then(|e| e.value.clone());
    if value.as_deref() != Some("3600000") {
        return Err(format!("retention.ms is {value:?}").into());
    }
    Ok(())
}

fn produce(broker: &str, topic: &str) -> Outcome {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let p: BaseProducer = config(broker, &[("compression.type", codec), ("enable.idempotence", "true")]).create()?;
        for i in 0..200 {
            let (key, value) = (format!("k{i}"), format!("{codec}{i}").repeat(10));
            p.send(BaseRecord::to(topic).key(&key).payload(&value)).map_err(|(e, _)| e)?;
        }
        p.flush(Duration::from_secs(20))?;
    }
    Ok(())
}

fn group(broker: &str, topic: &str) -> Outcome {
    let group = format!("g-{topic}");
    let more = [("group.id", group.as_str()), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false"), ("session.timeout.ms", "10000"), ("heartbeat.interval.ms", "500")];
    let (a, b): (BaseConsumer, BaseConsumer) = (config(broker, &more).create()?, config(broker, &more).create()?);
    a.subscribe(&[topic])?;
    let (mut seen, end) = (0, Instant::now() + Duration::from_secs(40));
    while seen < 1000 {
        if let Some(m) = a.poll(Duration::from_millis(200)) {
            m?;
            seen += 1;
        }
        if Instant::now() > end {
            return Err(format!("{seen} of 1,000 messages").into());
        }
    }
    a.commit_consumer_state(CommitMode::Sync)?;
    b.subscribe(&[topic])?;
    while a.assignment()?.count() != 2 || b.assignment()?.count() != 2 {
        for c in [&a, &b] {
            if let Some(Ok(m)) = c.poll(Duration::from_millis(50)) {
                return Err(format!("again: {}:{}", m.partition(), m.offset()).into());
            }
        }
        if Instant::now() > end {
            return Err("not both have two partitions".into());
        }
    }
    Ok(())
}

fn transactions(broker: &str, topic: &str) -> Outcome {
    let (id, out, limit) = (format!("t-{topic}"), format!("{topic}-tx"), Duration::from_secs(20));
    let p: BaseProducer = config(broker, &[("transactional.id", &id)]).create()?;
    p.init_transactions(limit)?;
    for end in ["abort", "commit", "abort", "commit"] {
        p.begin_transaction()?;
        for _ in 0..2 {
            p.send(BaseRecord::<str, str>::to(&out).payload(end)).map_err(|(e, _)| e)?;
        }
        p.flush(limit)?;
        if end == "commit" {
            p.commit_transaction(limit)?;
        } else {
            p.abort_transaction(limit)?;
        }
    }
    let c: BaseConsumer = config(broker, &[("group.id", "r"), ("isolation.level", "read_committed")]).create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&out, 0, Offset::Beginning)?;
    c.assign(&list)?;
    let (mut got, end) = (vec![], Instant::now() + Duration::from_secs(10));
    while got.len() < 4 && Instant::now() < end {
        if let Some(m) = c.poll(Duration::from_millis(200)) {
            got.push(String::from_utf8(m?.payload().unwrap_or_default().to_vec())?);
        }
    }
    if got != ["commit"; 4] {
        return Err(format!("{got:?}").into());
    }
    Ok(())
}

async fn delete(broker: &str, topic: &str) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = config(broker, &[]).create()?;
    for r in admin.delete_topics(&[topic], &AdminOptions::new()).await? {
        r.map_err(|(t, e)| format!("{t}: {e}"))?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (broker, topic) = (args[1].as_str(), format!("rust-{}", args[2]));
    check("admin: topics, configs", admin(broker, &topic).await);
    check("produce: none, gzip, snappy, lz4, zstd, idempotent", produce(broker, &topic));
    check("group: consume, rebalance, commit", group(broker, &topic));
    check("transactions: commit, abort", transactions(broker, &topic));
    check("admin: delete topics", delete(broker, &topic).await);
}
