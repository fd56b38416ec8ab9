// A user outside, in a headless Chromium: signs in over wss, sends a message, gets
// one, and signs out.
//
//	node signin.mjs WEB EDGE PIN FOLDER ADDRESS PASSWORD TO TEXT
//
// WEB is where the page is served, host:port, EDGE the edge's listener for wss, PIN
// the hash of the key that the edge must show, FOLDER where the browser keeps its
// things and page.png is left. Each step is a line on the standard output; the last
// one waits for a message. The exit status is 0 when all went well.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'
import { bundle } from './bundle.mjs'

const [web, edge, pin, folder, address, password, to, text] = process.argv.slice(2)
const patience = 15_000

const files = {
	'/': ['text/html', readFileSync(new URL('page.html', import.meta.url))],
	'/jssip.js': ['text/javascript', bundle('jssip', 'JsSIP')],
}
const server = createServer((request, response) => {
	const [type, body] = files[request.url] ?? ['text/plain', undefined]
	response.writeHead(body ? 200 : 404, { 'Content-Type': type })
	response.end(body)
})
const [host, port] = web.split(':')
await new Promise(ready => server.listen(Number(port), host, ready))

const browser = await chromium.launchPersistentContext(folder + '/chromium', {
	executablePath: '/usr/bin/chromium',
	args: [
		'--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--no-proxy-server',
		'--disable-background-networking', '--disable-component-update', '--disable-sync',
		'--ignore-certificate-errors-spki-list=' + pin.replace('sha256/', ''),
	],
})
browser.setDefaultTimeout(patience)
let status = 1
const page = browser.pages()[0] ?? await browser.newPage()
page.on('console', line => console.log('console: ' + line.text()))
page.on('pageerror', fault => console.log('fault: ' + fault.message))
try {
	await page.goto(`http://${web}/`)
	await page.fill('#edge', `wss://${edge}`)
	await page.fill('#address', address)
	await page.fill('#password', password)
	await page.click('#sign-in')
	await shows('#state', /^signed in$/)
	await page.fill('#to', to)
	await page.fill('#text', text)
	await page.click('#send')
	await shows('#messages li:nth-child(1)', /^sent: /)
	await shows('#messages li:nth-child(2)', /^\S+@\S+: /)
	await page.screenshot({ path: folder + '/page.png' })
	await page.click('#sign-out')
	await shows('#state', /^signed out$/)
	status = 0
} catch (fault) {
	console.log('failed: ' + fault.message)
	await page.screenshot({ path: folder + '/page.png' }).catch(() => {})
}
await browser.close()
server.close()
process.exit(status)

// shows waits until a part of the page has a text, and says it. What says that
// something went wrong ends the wait.
async function shows(part, want) {
	const shown = await page.waitForFunction(([part, want]) => {
		const text = document.querySelector(part)?.textContent ?? ''
		return new RegExp(want).test(text) || /^(not (signed in:|sent)|no connection)/.test(text) ? text : false
	}, [part, want.source])
	const said = await shown.jsonValue()
	console.log(said.trim())
	if (!want.test(said)) throw new Error(said)
}
