// bundle puts a package of CommonJS modules and what it requires into one
// script for a page, as the global NAME. It knows what JsSIP needs: require with
// a literal, and JSON.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

export function bundle(entry, name) {
	const ids = new Map(), modules = []
	const add = file => {
		if (ids.has(file)) return ids.get(file)
		const id = modules.length
		ids.set(file, id)
		modules.push(null)
		const text = readFileSync(file, 'utf8'), resolve = createRequire(file).resolve
		const needs = {}
		if (file.endsWith('.json')) {
			modules[id] = `[function (module) { module.exports = ${text} }, {}]`
			return id
		}
		for (const [, wanted] of text.matchAll(/\brequire\(['"]([^'"]+)['"]\)/g)) {
			needs[wanted] = add(inBrowser(wanted, resolve))
		}
		modules[id] = `[function (module, exports, require) {\n${text}\n}, ${JSON.stringify(needs)}]`
		return id
	}
	const first = add(createRequire(import.meta.url).resolve(entry))
	return `window.${name} = (() => {
	const modules = [${modules.join(',\n')}], loaded = []
	const load = id => {
		if (!loaded[id]) {
			const [run, needs] = modules[id]
			loaded[id] = { exports: {} }
			run(loaded[id], loaded[id].exports, wanted => load(needs[wanted]))
		}
		return loaded[id].exports
	}
	return load(${first})
})()`
}

// inBrowser is the file of a module, in the variant for browsers.
function inBrowser(wanted, resolve) {
	if (wanted === 'debug') return resolve('debug/src/browser.js')
	return resolve(wanted === 'events' ? 'events/' : wanted)
}
