// The official JavaScript SDK against envd: every line of output is a check that held.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

// The package is installed beside the build, not beside this file.
const require = createRequire(process.env.SDK_ROOT + '/')
const { CommandExitError, FileType, NotFoundError, Sandbox, TimeoutError } = require('e2b')

const home = process.env.SANDBOX_HOME
function held(name, fact) {
  assert.ok(fact, name)
  console.log(name)
}

const sbx = await Sandbox.create('any')
held('isRunning', await sbx.isRunning())

const done = await sbx.commands.run('echo out; echo err >&2; pwd; id -u')
assert.deepEqual([done.exitCode, done.stdout, done.stderr], [0, `out\n${home}\n1000\n`, 'err\n'])
await assert.rejects(sbx.commands.run('exit 3'), (problem) => problem instanceof CommandExitError && problem.exitCode === 3)
await assert.rejects(sbx.commands.run('sleep 60; echo never', { timeoutMs: 1000 }), TimeoutError)
const limit = Date.now() + 20_000
while ((await sbx.commands.list()).length > 0) assert.ok(Date.now() < limit, 'the timeout kills')
held('commands', true)

const sleeper = await sbx.commands.run('sleep 60', { background: true })
held('kill', await sleeper.kill())
await assert.rejects(sleeper.wait(), CommandExitError)
held('kill again', !(await sbx.commands.kill(sleeper.pid)))
const cat = await sbx.commands.run('cat', { background: true, stdin: true })
await sbx.commands.sendStdin(cat.pid, 'line\n')
await sbx.commands.closeStdin(cat.pid)
held('stdin', (await cat.wait()).stdout === 'line\n')

let screen = ''
const terminal = await sbx.pty.create({ cols: 70, rows: 20, onData: (data) => { screen += new TextDecoder().decode(data) } })
await sbx.pty.resize(terminal.pid, { cols: 100, rows: 30 })
await sbx.pty.sendInput(terminal.pid, new TextEncoder().encode('echo "size $(stty size)"; exit 5\n'))
await assert.rejects(terminal.wait(), (problem) => problem.exitCode === 5)
held('pty', screen.includes('size 30 100'))

await sbx.files.write('a/"b" ä/c.txt', 'hällo')
held('write and read', (await sbx.files.read('a/"b" ä/c.txt')) === 'hällo')
await sbx.files.write('empty', '')
held('empty file', (await sbx.files.read('empty')) === '')
const several = await sbx.files.write([{ path: 'm/1', data: '1' }, { path: 'm/2', data: new Blob(['2']) }])
assert.deepEqual(several.map((entry) => entry.path), [`${home}/m/1`, `${home}/m/2`])
const listed = await sbx.files.list('m')
assert.deepEqual(listed.map((entry) => [entry.name, entry.type]), [['1', FileType.FILE], ['2', FileType.FILE]])
held('list', true)
held('exists', (await sbx.files.exists('m')) && !(await sbx.files.exists('nothing')))
held('makeDir', (await sbx.files.makeDir('dir')) && !(await sbx.files.makeDir('dir')))
await sbx.files.rename('m/1', 'n/1')
await sbx.files.remove('n')
held('rename and remove', !(await sbx.files.exists('n')))
await assert.rejects(sbx.files.read('nothing'), NotFoundError)
const url = await sbx.downloadUrl('m/2', { useSignatureExpiration: 60_000 })
held('signed url', (await (await fetch(url)).text()) === '2')
await sbx.files.write('packed', '0123456789'.repeat(100_000), { gzip: true })
held('gzip', (await sbx.files.read('packed', { gzip: true })).length === 1_000_000)

await sbx.files.makeDir('watched')
let seen
const event = new Promise((resolve) => { seen = resolve })
const watcher = await sbx.files.watchDir('watched', (change) => change.name === 'f' && seen(change), { includeEntry: true })
await sbx.files.write('watched/f', 'x')
held('watch', (await event).name === 'f')
await watcher.stop()
console.log('all held')
