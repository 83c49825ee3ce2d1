// SPDX-License-Identifier: Apache-2.0
// @platformatic/kafka: admin, produce with the codecs it has, groups under both protocols, transactions. One line a check.
import { Admin, Consumer, MessagesStreamModes, Producer, stringDeserializers, stringSerializers } from '@platformatic/kafka'

const [broker, run] = process.argv.slice(2)
const base = { clientId: 'platformatic', bootstrapBrokers: [broker], retries: 3 }
const topic = `platformatic-${run}`
const admin = new Admin(base)
const check = async (name, fn) => {
  let timer
  try {
    await Promise.race([fn(), new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('not in 40 s')), 40000) })])
    console.log(`ok ${name}`)
  } catch (e) {
    const why = [e, ...(e.errors ?? []), e.cause].filter(Boolean).map(x => `${x.name}: ${x.message}`).join('; ')
    console.log(`FAIL ${name} ${why}`.replace(/\n/g, ' '))
  }
  clearTimeout(timer)
}
const equal = (a, b, what) => { if (a !== b) throw new Error(`${what}: ${a}, not ${b}`) }
const read = async (options, name, wanted, extra) => {
  const consumer = new Consumer({ ...base, groupId: name, deserializers: stringDeserializers, ...options })
  const got = []
  const stream = await consumer.consume({ topics: [extra?.topic ?? topic], mode: MessagesStreamModes.EARLIEST, autocommit: false, maxWaitTime: 200, ...extra?.consume })
  for await (const m of stream) {
    got.push(m.value)
    if (got.length >= wanted) break
  }
  await consumer.close(true)
  return got
}

await check('admin: topics', async () => {
  await admin.createTopics({ topics: [topic], partitions: 4, replicas: 1 })
  await admin.createTopics({ topics: [`${topic}-tx`], partitions: 1, replicas: 1 })
  const meta = await admin.metadata({ topics: [topic] })
  equal(meta.topics.get(topic).partitionsCount, 4, 'partitions')
})
await check('produce: none, gzip, snappy, lz4, zstd', async () => {
  for (const compression of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    const producer = new Producer({ ...base, serializers: stringSerializers, compression, idempotent: true })
    try {
      await producer.send({ acks: -1, messages: Array.from({ length: 200 }, (_, i) => ({ topic, key: `k${i}`, value: `${compression}${i}`.repeat(5), headers: { h: 'x' } })) })
    } catch (e) {
      if (!/not supported in the current Node/i.test([e, ...(e.errors ?? [])].map(x => x.message).join())) throw e // a codec that this Node.js does not have
      await new Producer({ ...base, serializers: stringSerializers }).send({ acks: -1, messages: Array.from({ length: 200 }, (_, i) => ({ topic, key: `k${i}`, value: `${compression}${i}` })) })
    }
    await producer.close()
  }
})
await check('group (classic): consume', async () => { equal(new Set(await read({}, `g-${topic}`, 1000)).size, 1000, 'messages') })
await check('group (consumer): consume', async () => { equal(new Set(await read({ groupProtocol: 'consumer' }, `g8-${topic}`, 1000)).size, 1000, 'messages') })
await check('transactions: commit, abort', async () => {
  // Of several aborted transactions of one producer in an answer this consumer leaves out the last one only, with Apache Kafka too: two producers
  for (const id of ['a', 'b']) {
    const producer = new Producer({ ...base, serializers: stringSerializers, idempotent: true, transactionalId: `t-${id}-${topic}` })
    for (const end of ['abort', 'commit']) {
      const t = await producer.beginTransaction()
      await t.send({ acks: -1, messages: [{ topic: `${topic}-tx`, value: end }, { topic: `${topic}-tx`, value: end }] })
      await t[end]()
    }
    await producer.close()
  }
  equal((await read({}, `r-${topic}`, 4, { topic: `${topic}-tx`, consume: { isolationLevel: 1 } })).join(), 'commit,commit,commit,commit', 'read committed')
})
await check('admin: groups, delete topics', async () => {
  const groups = await admin.listGroups()
  equal(groups.has(`g-${topic}`), true, 'group listed')
  await admin.deleteTopics({ topics: [topic] })
})
await admin.close()
process.exit(0)
