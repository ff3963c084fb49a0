// The product document's OSS example with the official JavaScript SDK, another image at create, then a hibernation, which NAS storage
// refuses. Prints what it saw as one line of JSON.

import { Sandbox } from '@e2b/code-interpreter'

const sbx = await Sandbox.create('code-interpreter-inject-test', {
  timeoutMs: 300_000,
  metadata: {
    'e2b.agents.kruise.io/csi-volume-name': 'oss-pv-sandbox-system',
    'e2b.agents.kruise.io/csi-mount-point': '/data-oss',
    'e2b.agents.kruise.io/csi-subpath': 'data-subPath',
  },
})
const seen = {}
await sbx.files.write('/data-oss/hello.txt', 'hello from JavaScript\n')
seen.cat = (await sbx.commands.run('cat /data-oss/hello.txt')).stdout
seen.read = await sbx.files.read('/data-oss/hello.txt')
seen.listed = (await sbx.files.list('/data-oss')).map((entry) => entry.name)
seen.paused = await sbx.pause()
seen.runningWhilePaused = await sbx.isRunning()
const woken = await Sandbox.connect(sbx.sandboxId)
seen.readAfterWakeUp = await woken.files.read('/data-oss/hello.txt')
seen.running = await sbx.isRunning()
const upgraded = await Sandbox.create('code-interpreter-inject-test', {
  timeoutMs: 300_000,
  metadata: {
    'e2b.agents.kruise.io/image': 'registry-cn-zhangjiakou-vpc.ack.aliyuncs.com/acs/code-interpreter:v1.7',
    'e2b.agents.kruise.io/csi-volume-name': 'oss-pv-sandbox-system',
    'e2b.agents.kruise.io/csi-mount-point': '/data-oss',
    'e2b.agents.kruise.io/csi-subpath': 'data-subPath',
  },
})
seen.readInAnotherImage = await upgraded.files.read('/data-oss/hello.txt')
await upgraded.kill()
seen.killed = await sbx.kill()
seen.runningAfterKill = await sbx.isRunning()
try {
  await Sandbox.create('code-interpreter-inject-test', {
    metadata: { 'e2b.agents.kruise.io/csi-volume-name': 'no-such-volume', 'e2b.agents.kruise.io/csi-mount-point': '/x' },
  })
} catch (error) {
  seen.refusal = `${error.name}: ${error.message}`
}
const nas = await Sandbox.create('code-interpreter-inject-test', {
  timeoutMs: 300_000,
  metadata: { 'e2b.agents.kruise.io/csi-volume-name': 'nas-pv-sandbox-system', 'e2b.agents.kruise.io/csi-mount-point': '/data-nas' },
})
seen.pauseWithNas = []
for (const pause of [() => nas.pause(), () => nas.betaPause(), () => Sandbox.pause(nas.sandboxId)]) {
  try {
    seen.pauseWithNas.push(`no error but ${await pause()}`)
  } catch (error) {
    seen.pauseWithNas.push(`${error.name}: ${error.message}`)
  }
}
seen.nasStillRunning = await nas.isRunning()
await nas.kill()
console.log(JSON.stringify(seen))
