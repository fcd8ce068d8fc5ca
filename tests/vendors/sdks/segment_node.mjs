// @segment/analytics-node tells the story of one customer: node segment_node.mjs URL KEY
import { Analytics } from '@segment/analytics-node'

const [url, writeKey] = process.argv.slice(2)
const failures = []
const context = { groupId: 'acme' }
const client = new Analytics({ writeKey, host: url, maxRetries: 1, flushAt: 15 })
client.on('error', (error) => failures.push(error))
client.identify({ userId: 'u1', traits: { role: 'admin', locale: 'de', nested: { a: [1, 2.5, null, 'ü'] } } })
client.group({ userId: 'u1', groupId: 'acme', traits: { name: 'Acme', seats: 10 } })
client.track({ userId: 'u1', event: 'Ticket Opened', properties: { ticket: 'T1', priority: 'low' }, context })
for (let used = 0; used < 20; used++) {
  client.track({ userId: 'u1', event: 'Seat Limit Reached', properties: { used, seats: 20 }, context })
}
await client.closeAndFlush({ timeout: 10000 })
if (failures.length) { console.error(failures); process.exit(1) }
