// @rudderstack/rudder-sdk-node tells the story of one customer: node rudder_node.mjs URL KEY
import RudderAnalytics from '@rudderstack/rudder-sdk-node'

const [url, key] = process.argv.slice(2)
const context = { groupId: 'acme' }
const Client = RudderAnalytics.default ?? RudderAnalytics
const client = new Client(key, { dataPlaneUrl: url, flushAt: 15, gzip: true })
client.identify({ userId: 'u1', traits: { role: 'admin', locale: 'de', nested: { a: [1, 2.5, null, 'ü'] } } })
client.group({ userId: 'u1', groupId: 'acme', traits: { name: 'Acme', seats: 10 } })
client.track({ userId: 'u1', event: 'Ticket Opened', properties: { ticket: 'T1', priority: 'low' }, context })
for (let used = 0; used < 20; used++) {
  client.track({ userId: 'u1', event: 'Seat Limit Reached', properties: { used, seats: 20 }, context })
}
await client.flush()
await client.flush()
process.exit(0)
