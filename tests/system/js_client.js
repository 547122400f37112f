// The official JavaScript client (blynk-library), driven by a test.
//
//   node js_client.js tcp|ws HOST PORT TOKEN
//
// A JSON object per line: commands come on stdin, {"write": [pin, value, ...]}, {"sync": [pin, ...]} (all without pins)
// and {"notify": text}; what happens goes to stdout, {"event": "connected"}, {"event": "write", "pin": 1, "values": [..]},
// {"event": "disconnected"}, {"event": "error", "reason": "INVALID_TOKEN"}. What the library prints goes to stderr.
'use strict';

console.log = console.error;

const [transport, addr, port, token] = process.argv.slice(2);

if (transport === 'ws') {
  // The library's browser client, with `ws` in the place of the browser's WebSocket.
  global.WebSocket = require('ws');
  global.window = { WebSocket: global.WebSocket };
}

const library = require('blynk-library');

function tell(event, more) {
  process.stdout.write(JSON.stringify({ event, ...more }) + '\n');
}

const options = { addr, port: Number(port), path: '/websockets' };
const connector = transport === 'ws' ? new library.WsClient(options) : new library.TcpClient(options);
const blynk = new library.Blynk(token, { connector });

for (let pin = 0; pin < 256; pin++) {
  new blynk.VirtualPin(pin).on('write', (values) => tell('write', { pin, values }));
}
blynk.on('connect', () => tell('connected'));
blynk.on('disconnect', () => tell('disconnected'));
blynk.on('error', (reason) => tell('error', { reason: String(reason) }));

const commands = require('readline').createInterface({ input: process.stdin });
commands.on('line', (line) => {
  const command = JSON.parse(line);
  if (command.write) {
    blynk.virtualWrite(command.write[0], command.write.slice(1));
  } else if (command.sync && command.sync.length) {
    command.sync.forEach((pin) => blynk.syncVirtual(pin));
  } else if (command.sync) {
    blynk.syncAll();
  } else if (command.notify) {
    blynk.notify(command.notify);
  }
});
commands.on('close', () => process.exit(0));
