// A user outside, in a headless Chromium, who does what he is told:
//
//	node drive.mjs WEB PIN FOLDER
//
// WEB is where the page is served, host:port, PIN the hash of the key that the edge
// must show, FOLDER where the browser keeps its things and pictures are left. Commands
// are lines of the standard input:
//
//	open URL                        of the page
//	sign-in EDGE ADDRESS PASSWORD   EDGE is a URL, wss://...
//	write TO TEXT
//	sign-out
//	picture FILE
//	quit                            or the end of the input
//
// What the page shows is said, a line each, when it changes.
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'
import { bundle } from './bundle.mjs'

const [web, pin, folder] = process.argv.slice(2)

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
	viewport: { width: 800, height: 500 },
	args: [
		'--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--no-proxy-server',
		'--disable-background-networking', '--disable-component-update', '--disable-sync',
		'--ignore-certificate-errors-spki-list=' + pin.replace('sha256/', ''),
	],
})
browser.setDefaultTimeout(15_000)
const page = browser.pages()[0] ?? await browser.newPage()
page.on('console', line => console.log('console: ' + line.text()))
page.on('pageerror', fault => console.log('fault: ' + fault.message))
await page.exposeFunction('shown', text => console.log(text.trim()))

const commands = {
	async open(url) {
		await page.goto(url)
		await page.evaluate(() => new MutationObserver(changes => {
			for (const change of changes) change.addedNodes.forEach(node => shown(node.textContent))
		}).observe(document.body, { subtree: true, childList: true }))
	},
	async 'sign-in'(edge, address, password) {
		await page.fill('#edge', edge)
		await page.fill('#address', address)
		await page.fill('#password', password)
		await page.click('#sign-in')
	},
	async write(to, ...text) {
		await page.fill('#to', to)
		await page.fill('#text', text.join(' '))
		await page.click('#send')
	},
	'sign-out': () => page.click('#sign-out'),
	picture: file => page.screenshot({ path: folder + '/' + file }),
}
try {
	for await (const line of createInterface({ input: process.stdin })) {
		const [name, ...words] = line.split(' ')
		if (name === 'quit') break
		await commands[name](...words)
	}
} finally {
	await browser.close()
	server.close()
}
process.exit(0) // the input may still be open
