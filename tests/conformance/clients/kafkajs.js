// SPDX-License-Identifier: Apache-2.0
// kafkajs: produce with every codec it has, groups with a rebalance, transactions, admin. One line a check: "ok NAME" or "FAIL NAME why".
'use strict'
const { Kafka, logLevel } = require('kafkajs')

const [broker, run] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'kafkajs', brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 3 } })
const topic = `kafkajs-${run}`
const until = async (what, condition, ms = 30000) => {
  const end = Date.now() + ms
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not in time: ${what}`)
    await new Promise(r => setTimeout(r, 20))
  }
}
const check = async (name, fn) => {
  try {
    await fn()
    console.log(`ok ${name}`)
  } catch (e) {
    console.log(`FAIL ${name} ${e.name}: ${e.message}`.replace(/\n/g, ' '))
  }
}
const equal = (a, b, what) => { if (a !== b) throw new Error(`${what}: ${a}, not ${b}`) }

const admin = kafka.admin()
async function administration () {
  equal(await admin.createTopics({ topics: [{ topic, numPartitions: 4, configEntries: [{ name: 'retention.ms', value: '3600000' }] }], waitForLeaders: true }), true, 'created')
  const meta = await admin.fetchTopicMetadata({ topics: [topic] })
  equal(meta.topics[0].partitions.length, 4, 'partitions')
  const configs = await admin.describeConfigs({ resources: [{ type: 2, name: topic, configNames: ['retention.ms'] }] })
  equal(configs.resources[0].configEntries[0].configValue, '3600000', 'retention.ms')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  equal((await admin.fetchTopicOffsets(topic)).length, 5, 'partitions after adding')
}
async function produce () {
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  for (const compression of [0, 1]) // none, gzip
    await producer.send({ topic, compression, messages: Array.from({ length: 500 }, (_, i) => ({ key: `k${i}`, value: `v${compression * 500 + i}`, headers: { h: 'x' } })) })
  await producer.disconnect()
}
async function groups () {
  const seen = new Map(), who = {}
  const consumers = []
  const start = async name => {
    const c = kafka.consumer({ groupId: `g-${topic}`, sessionTimeout: 10000, rebalanceTimeout: 15000, heartbeatInterval: 500 })
    consumers.push(c)
    c.on(c.events.GROUP_JOIN, e => { who[name] = (e.payload.memberAssignment[topic] || []).length })
    await c.connect()
    await c.subscribe({ topic, fromBeginning: true })
    await c.run({ eachMessage: async ({ message }) => { seen.set(message.value.toString(), (seen.get(message.value.toString()) || 0) + 1) } })
  }
  try {
    await start('a')
    await until('1,000 messages', () => seen.size === 1000)
    equal(Math.max(...seen.values()), 1, 'each once')
    await start('b')
    await until('both have partitions', () => who.b > 0 && who.a + who.b === 5)
    const described = await admin.describeGroups([`g-${topic}`])
    equal(described.groups[0].members.length, 2, 'members')
  } finally {
    for (const c of consumers) await c.disconnect()
  }
  const offsets = await admin.fetchOffsets({ groupId: `g-${topic}`, topics: [topic] })
  equal(offsets[0].partitions.reduce((n, p) => n + Math.max(0, Number(p.offset)), 0), 1000, 'committed offsets')
}
async function transactions () {
  const producer = kafka.producer({ transactionalId: `t-${topic}`, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  const out = `${topic}-tx`
  await admin.createTopics({ topics: [{ topic: out, numPartitions: 1 }], waitForLeaders: true })
  for (const end of ['abort', 'commit', 'abort', 'commit']) {
    const t = await producer.transaction()
    await t.send({ topic: out, messages: [{ value: end }, { value: end }] })
    if (end === 'commit') await t.sendOffsets({ consumerGroupId: `tg-${topic}`, topics: [{ topic, partitions: [{ partition: 0, offset: '7' }] }] })
    await t[end]()
  }
  await producer.disconnect()
  const got = []
  const c = kafka.consumer({ groupId: `r-${topic}`, readUncommitted: false })
  await c.connect()
  await c.subscribe({ topic: out, fromBeginning: true })
  await c.run({ eachMessage: async ({ message }) => { got.push(message.value.toString()) } })
  await until('4 messages', () => got.length >= 4)
  await c.disconnect()
  equal(got.join(), 'commit,commit,commit,commit', 'read committed')
  equal((await admin.fetchOffsets({ groupId: `tg-${topic}`, topics: [topic] }))[0].partitions.find(p => p.partition === 0).offset, '7', 'offset of the transaction')
}
async function main () {
  await admin.connect()
  await check('admin: topics, configs, partitions', administration)
  await check('produce: none, gzip, headers', produce)
  await check('group: consume, rebalance, commit', groups)
  await check('transactions: commit, abort, offsets', transactions)
  await check('admin: delete groups and topics', async () => {
    await admin.deleteGroups([`g-${topic}`])
    await admin.deleteTopics({ topics: [topic] })
    equal((await admin.listTopics()).includes(topic), false, 'topic is there')
  })
  await admin.disconnect()
}
main().then(() => process.exit(0), e => { console.log(`FAIL all ${e.stack}`.replace(/\n/g, ' ')); process.exit(1) })
