// Snapshots with the official JavaScript SDK, of a sandbox with OSS storage. Prints what it saw as one line of JSON.

import { Sandbox } from '@e2b/code-interpreter'

const template = 'code-interpreter-inject-test'
const mount = {
  'e2b.agents.kruise.io/csi-volume-name': 'oss-pv-sandbox-system',
  'e2b.agents.kruise.io/csi-mount-point': '/data-oss',
}
const options = { timeoutMs: 300_000 }
const source = await Sandbox.create(template, { ...options, metadata: mount })
await source.files.write('/home/user/notes.txt', 'written before the snapshot')
await source.files.write('/data-oss/kept.txt', 'kept in the bucket')
const seen = {}
const first = await source.createSnapshot()
const second = await source.createSnapshot({ name: 'second' })
seen.names = [first.names, second.names]
const pages = source.listSnapshots({ limit: 1 })
seen.listed = []
while (pages.hasNext) {
  const page = await pages.nextItems()
  seen.listed.push(page.map((item) => item.snapshotId === first.snapshotId ? 'first' : 'second'))
}
const plain = await Sandbox.create(first.snapshotId, options)
seen.plain = [await plain.files.read('/home/user/notes.txt'), await plain.files.exists('/data-oss')]
const mounted = await Sandbox.create('second', { ...options, metadata: mount })
seen.mounted = [await mounted.files.read('/home/user/notes.txt'), await mounted.files.read('/data-oss/kept.txt')]
try {
  await source.createSnapshot({ name: 'second' })
} catch (error) {
  seen.refusal = `${error.name}: ${error.message}`
}
await source.kill()
seen.deleted = [await Sandbox.deleteSnapshot(first.snapshotId), await Sandbox.deleteSnapshot(first.snapshotId)]
seen.running = [await plain.isRunning(), await mounted.isRunning()]
await plain.kill()
await mounted.kill()
await Sandbox.deleteSnapshot(second.snapshotId)
console.log(JSON.stringify(seen))
