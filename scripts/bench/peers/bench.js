'use strict';
// The benchmark's programs on Node.
// bench.js NAME ARGS...: the same work, arguments and figures as NAME.lua.

const now = () => Number(process.hrtime.bigint());
const each = (started, n) => console.log('ns', (now() - started) / n);
const assert = require('node:assert');

const programs = {
  async switch(tasks, yields) {
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    const worker = async () => { for (let i = 0; i < yields; i++) await turn(); };
    const started = now();
    await Promise.all(Array.from({ length: tasks }, worker));
    each(started, tasks * yields);
  },

  async spawn(n, batch) {
    const same = async (x) => x;
    const started = now();
    for (let done = 0; done < n; done += batch) {
      const promises = [];
      for (let i = 0; i < batch; i++) promises.push(same(i));
      const results = await Promise.all(promises);
      assert(results.length === batch);
    }
    each(started, n);
  },

  async await(n) {
    const same = async (x) => x;
    const started = now();
    let sum = 0;
    for (let i = 0; i < n; i++) sum += await same(1);
    each(started, n);
    assert(sum === n);
  },

  async timers(n, ms) {
    const sleep = (delay) => new Promise((resolve) => setTimeout(resolve, delay));
    const sleeper = async () => { await sleep(Math.random() * ms); };
    const started = now();
    const tasks = [];
    for (let i = 0; i < n; i++) tasks.push(sleeper());
    await Promise.all(tasks);
    console.log('over', (now() - started) / 1e9 - ms / 1000);
  },

  // Node has no queue to wait on: the usual ring with lists of those who wait.
  async queue(n, size) {
    const ring = new Array(size), getters = [], putters = [];
    let head = 0, count = 0;
    const put = async (item) => {
      while (count === size) await new Promise((resolve) => putters.push(resolve));
      ring[(head + count++) % size] = item;
      if (getters.length) getters.shift()();
    };
    const get = async () => {
      while (count === 0) await new Promise((resolve) => getters.push(resolve));
      const item = ring[head];
      head = (head + 1) % size;
      count--;
      if (putters.length) putters.shift()();
      return item;
    };
    const produce = async () => { for (let i = 0; i < n; i++) await put(i); };
    const started = now();
    const producer = produce();
    let sum = 0;
    for (let i = 0; i < n; i++) sum += await get();
    await producer;
    each(started, n);
    assert(sum === n * (n - 1) / 2);
  },

  async processes(n, rounds, pipe) {
    const { spawn } = require('node:child_process');
    const piped = !(pipe === undefined);
    const one = () => new Promise((resolve) => {
      let text = '';
      const child = piped ? spawn('/bin/echo', ['x'], { stdio: ['inherit', 'pipe', 'inherit'] })
        : spawn('/bin/true', [], { stdio: 'inherit' });
      if (piped) child.stdout.on('data', (data) => { text += data; });
      child.on('close', (code) => { assert(code === 0 && (!piped || text === 'x\n')); resolve(); });
    });
    const started = now();
    for (let r = 0; r < rounds; r++) await Promise.all(Array.from({ length: n }, one));
    console.log('us', (now() - started) / 1e3 / (n * rounds));
  },

  echo(port) {
    require('node:net').createServer({ noDelay: true }, (socket) => {
      socket.on('data', (data) => socket.write(data));
      socket.on('error', () => socket.destroy());
    }).listen({ port, host: '127.0.0.1', backlog: 1024 });
  },

  ws(port) {
    const { WebSocketServer } = require('/usr/share/nodejs/ws'); // Debian's node-ws
    new WebSocketServer({ port, host: '127.0.0.1', backlog: 1024 }).on('connection', (socket) => {
      socket.on('message', (data, binary) => socket.send(data, { binary }));
      socket.on('error', () => socket.terminate());
    });
  },

  tls(cert, key, port) {
    const { readFileSync } = require('node:fs');
    require('node:tls').createServer({ noDelay: true, cert: readFileSync(cert), key: readFileSync(key) }, (socket) => {
      socket.on('data', (data) => socket.write(data));
      socket.on('error', () => socket.destroy());
    }).listen({ port, host: '127.0.0.1', backlog: 1024 });
  },

  async readfile(megabytes, piece) {
    const fs = require('node:fs');
    const path = `${require('node:os').tmpdir()}/bench-readfile-${process.pid}`;
    fs.writeFileSync(path, '');
    for (let i = 0; i < megabytes; i++) fs.appendFileSync(path, Buffer.alloc(1 << 20));
    const file = await fs.promises.open(path);
    fs.unlinkSync(path);
    let total = 0;
    const started = now();
    for (;;) {
      const { bytesRead } = await file.read(Buffer.allocUnsafe(piece), 0, piece, null);
      if (bytesRead === 0) break;
      total += bytesRead;
    }
    console.log('us', (now() - started) / 1e3 / (total / piece));
    await file.close();
    assert(total === megabytes << 20);
  },

  json(what, path, n) {
    const text = require('node:fs').readFileSync(path, 'utf8');
    let value = JSON.parse(text);
    let written;
    const started = now();
    if (what === 'decode') for (let i = 0; i < n; i++) value = JSON.parse(text);
    else for (let i = 0; i < n; i++) written = JSON.stringify(value);
    console.log('us', (now() - started) / 1e3 / n);
    assert(value.length === 620 && (written === undefined || written.length > 90000));
  },

  // client [undici] get URL REQUESTS AT_ONCE; undici is a package of its own, fetch is Node's.
  async client(...words) {
    const undici = words[0] === 'undici' && require(words.shift());
    const [, url, n, atOnce] = words;
    const { origin, pathname } = new URL(url);
    const pool = undici && new undici.Pool(origin, { connections: atOnce });
    const body = undici
      ? async () => (await pool.request({ path: pathname, method: 'GET' })).body.text()
      : async () => (await fetch(url)).text();
    let left = n;
    const worker = async () => { while (left-- > 0) assert((await body()).length === 13); };
    const cpu = process.cpuUsage();
    const started = now();
    await Promise.all(Array.from({ length: atOnce }, worker));
    const used = process.cpuUsage(cpu);
    console.log('us', (used.user + used.system) / n);
    console.log('each', (now() - started) / 1e3 / n);
    process.exit(0);
  },

  udp(port) {
    const socket = require('node:dgram').createSocket('udp4');
    socket.on('message', (data, from) => socket.send(data, from.port, from.address));
    socket.bind(port, '127.0.0.1');
  },
};

const [name, ...args] = process.argv.slice(2);
programs[name](...args.map((word) => (isNaN(word) ? word : Number(word))));
