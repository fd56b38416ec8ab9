package federation

import "strings"

// plainSkeleton folds the letters and digits of plain names that look alike. An i
// is an l because whoever shows a name may show it in capitals, in part.
var plainSkeleton = strings.NewReplacer("0", "o", "1", "l", "i", "l", "m", "rn", "w", "vv")

// confusables are letters of domain names that people take for one of a to z, by
// the letter; IDNA has brought capitals and full-width letters into their one form
// before, and marks are taken off apart. It is our own choice in the manner of
// the table of UTS 39 (https://www.unicode.org/reports/tr39/): small letters of the
// scripts of which names are made that look Latin, and the digits. It is wider
// in that a letter in another shape counts as well (к for k, т for t), and
// narrower in that scripts are left out that nobody takes for Latin.
var confusables = map[rune]string{
	// Cyrillic.
	'а': "a", 'ә': "e", 'в': "b", 'ь': "b", 'ъ': "b", 'с': "c", 'ԁ': "d", 'е': "e", 'ҽ': "e", 'є': "e", 'г': "r", 'һ': "h",
	'н': "h", 'ћ': "h", 'і': "i", 'ј': "j", 'к': "k", 'қ': "k", 'ӏ': "l", 'м': "rn", 'п': "n", 'о': "o", 'ө': "o", 'р': "p",
	'ԛ': "q", 'ѕ': "s", 'т': "t", 'у': "y", 'ү': "y", 'ұ': "y", 'ѵ': "v", 'ԝ': "vv", 'ѡ': "vv", 'х': "x", 'ҳ': "x", 'з': "3",
	'б': "6", 'ғ': "f", 'ԍ': "g", 'ц': "u", 'и': "u", 'ш': "vv", 'ӕ': "ae", 'я': "r", 'л': "n",
	// Greek.
	'α': "a", 'β': "b", 'γ': "y", 'δ': "d", 'ε': "e", 'η': "n", 'ι': "i", 'κ': "k", 'μ': "u", 'ν': "v", 'ο': "o", 'ρ': "p",
	'σ': "o", 'ς': "c", 'τ': "t", 'υ': "u", 'χ': "x", 'ω': "vv", 'ϳ': "j", 'ϝ': "f",
	// Armenian.
	'ա': "w", 'գ': "q", 'զ': "q", 'հ': "h", 'ո': "n", 'ռ': "n", 'ս': "u", 'ց': "g", 'օ': "o", 'յ': "j", 'լ': "l", 'ք': "p",
	'ւ': "i", 'ե': "t",
	// Latin.
	'ı': "i", 'ɩ': "i", 'ɪ': "i", 'ɨ': "i", 'ł': "l", 'ƚ': "l", 'ɫ': "l", 'ɭ': "l", 'ŀ': "l", 'ø': "o", 'ɵ': "o", 'ɔ': "c",
	'đ': "d", 'ɖ': "d", 'ɗ': "d", 'ð': "d", 'ħ': "h", 'ɦ': "h", 'ŧ': "t", 'ƭ': "t", 'ʈ': "t", 'ɑ': "a", 'æ': "ae", 'œ': "oe",
	'ß': "ss", 'þ': "p", 'ƥ': "p", 'ɓ': "b", 'ƀ': "b", 'ƅ': "b", 'ƈ': "c", 'ȼ': "c", 'ɛ': "e", 'ǝ': "e", 'ə': "e", 'ɇ': "e",
	'ƒ': "f", 'ɡ': "g", 'ɠ': "g", 'ǥ': "g", 'ȷ': "j", 'ɉ': "j", 'ĸ': "k", 'ƙ': "k", 'ɱ': "rn", 'ŋ': "n", 'ɲ': "n", 'ɳ': "n",
	'ƞ': "n", 'ɋ': "q", 'ʠ': "q", 'ɍ': "r", 'ɾ': "r", 'ɼ': "r", 'ɽ': "r", 'ʂ': "s", 'ȿ': "s", 'ʉ': "u", 'ʊ': "u", 'ʋ': "v",
	'ɯ': "vv", 'ƴ': "y", 'ɏ': "y", 'ƶ': "z", 'ʐ': "z", 'ʑ': "z", 'ɀ': "z",
	'ᴀ': "a", 'ʙ': "b", 'ᴄ': "c", 'ᴅ': "d", 'ᴇ': "e", 'ꜰ': "f", 'ɢ': "g", 'ʜ': "h", 'ᴊ': "j", 'ᴋ': "k", 'ʟ': "l", 'ᴍ': "rn",
	'ɴ': "n", 'ᴏ': "o", 'ᴘ': "p", 'ʀ': "r", 'ꜱ': "s", 'ᴛ': "t", 'ᴜ': "u", 'ᴠ': "v", 'ᴡ': "vv", 'ʏ': "y", 'ᴢ': "z",
	// Digits and letters of other scripts that are a ring or a stroke.
	'०': "o", '০': "o", '੦': "o", '૦': "o", '୦': "o", '௦': "o", '౦': "o", '೦': "o", '൦': "o", '๐': "o", '໐': "o", '၀': "o",
	'٥': "o", '۵': "o", '٠': ".", 'ס': "o", '〇': "o", 'ჿ': "o", 'ا': "l", '١': "l", '۱': "l", 'ו': "l", 'ן': "l", 'ー': "-",
}
