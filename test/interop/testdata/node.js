// A server of the same four pages as the Go origin. argv: port, key, certificate, origin, "h2" or "http/1.1"
const [port, key, cert, origin, protocol] = process.argv.slice(2);
const fs = require('fs'), crypto = require('crypto'), http = require('http');
const options = { key: fs.readFileSync(key), cert: fs.readFileSync(cert), ALPNProtocols: [protocol] };
const handler = (req, res) => {
  const path = req.url.split('?')[0];
  if (path === '/early') { res.writeHead(413, { 'content-type': 'text/plain' }); res.end('too large'); return; }
  if (path === '/slow') {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    const t = setInterval(() => res.write('data: x\n\n'), 50);
    res.on('close', () => { clearInterval(t); http.get(origin + '/left' + req.url.slice(5)); });
    return;
  }
  const parts = [];
  req.on('data', (d) => parts.push(d));
  req.on('end', () => {
    const body = Buffer.concat(parts);
    res.writeHead(200, { 'x-sum': crypto.createHash('sha256').update(body).digest('hex') });
    res.end(body);
  });
};
const server = protocol === 'h2' ? require('http2').createSecureServer(options, handler) : require('https').createServer(options, handler);
server.listen(+port, '127.0.0.1');
