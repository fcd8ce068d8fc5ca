// posthog-node tells the story of one customer: node posthog_node.mjs URL KEY
import { PostHog } from 'posthog-node'

const [url, key] = process.argv.slice(2)
const failures = []
const groups = { company: 'acme' }
const client = new PostHog(key, { host: url, flushAt: 15, fetchRetryCount: 1 })
client.on('error', (error) => failures.push(error))
client.identify({ distinctId: 'u1', properties: { role: 'admin', locale: 'de', nested: { a: [1, 2.5, null, 'ü'] } } })
client.groupIdentify({ groupType: 'company', groupKey: 'acme', properties: { name: 'Acme', seats: 10 } })
client.capture({ distinctId: 'u1', event: 'Ticket Opened', properties: { ticket: 'T1', priority: 'low' }, groups })
for (let used = 0; used < 20; used++) {
  client.capture({ distinctId: 'u1', event: 'Seat Limit Reached', properties: { used, seats: 20 }, groups })
}
await client.shutdown(10000)
if (failures.length) { console.error(failures); process.exit(1) }
