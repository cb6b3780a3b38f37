/** A make-believe shell for the fake gateway: just enough of a terminal to try the page against. */

const PROMPT = '\x1b[1;32mdemo\x1b[0m:\x1b[1;34m/app\x1b[0m$ ';

/** Speaks to `io`: `print(text | Buffer)` returns once there is room, `size()`, `exit(code)`; what comes `later` waits for `released`. */
export class FakeShell {
  #io;
  #line = '';
  #held = '';
  #pasting = false;
  #running = null;
  #read = Promise.resolve();

  constructor(io, motd = '') {
    this.#io = io;
    void this.#start(motd);
  }

  async #start(motd) {
    await this.#io.print(`${motd}\x1b[?2004h${PROMPT}`);
  }

  /** A message at a time, as a terminal reads: the next waits until the last is dealt with. */
  input(bytes) {
    this.#read = this.#read.then(() => this.#input(bytes));
    return this.#read;
  }

  async #input(bytes) {
    const text = this.#held + bytes.toString('utf8');
    this.#held = '';
    for (let at = 0; at < text.length; at++) {
      const rest = text.slice(at);
      if (rest.startsWith('\x1b[200~')) {
        this.#pasting = true;
        at += 5;
      } else if (rest.startsWith('\x1b[201~')) {
        this.#pasting = false;
        at += 5;
      } else await this.#key(text[at]);
    }
  }

  async #key(key) {
    if (key === '\x03') {
      this.#line = '';
      // What runs says goodbye itself, behind its own output.
      if (this.#running === null) await this.#io.print(`^C\r\n${PROMPT}`);
      else this.#running.abort();
    } else if (this.#running !== null) {
      return;
    } else if (key === '\x04' && this.#line === '') {
      this.#io.exit(0);
    } else if (key === '\r' && !this.#pasting) {
      const line = this.#line;
      this.#line = '';
      await this.#io.print('\r\n');
      if (await this.#run(line.trim())) await this.#io.print(PROMPT);
    } else if (key === '\x7f') {
      if (this.#line === '') return;
      this.#line = [...this.#line].slice(0, -1).join('');
      await this.#io.print('\b \b');
    } else if (key >= ' ' || key === '\r' || key === '\n') {
      this.#line += key;
      // Echoing a long paste would only measure the fake.
      if (this.#line.length < 4096) await this.#io.print(key === '\r' ? '\r\n' : key);
    }
  }

  /** Returns whether to show the prompt again. */
  async #run(line) {
    const print = (text) => this.#io.print(text.replaceAll('\n', '\r\n'));
    const [command = '', ...words] = line.split(/\s+/);
    const { cols, rows } = this.#io.size();
    if (command === '') return true;
    if (command === 'exit') {
      this.#io.exit(Number(words[0] ?? 0));
      return false;
    }
    if (line === 'stty size') await print(`${rows} ${cols}\n`);
    else if (command === 'echo') await print(`${line.slice(5).replace(/\$\(\((\d+)\+(\d+)\)\)/g, (_, a, b) => Number(a) + Number(b))}\n`);
    else if (command === 'count') await print(`${line.length - 6}\n`);
    else if (command === 'wide') await this.#split(print);
    else if (command === 'colours') await print(COLOURS);
    else if (command === 'nobracket') await print('\x1b[?2004l');
    else if (command === 'ls') await print('\x1b[1;34mbin\x1b[0m  \x1b[1;34metc\x1b[0m  README.md  \x1b[1;32mserver\x1b[0m\n');
    else if (command === 'seq') await print(Array.from({ length: Number(words[0]) }, (_, i) => `${i + 1}\n`).join(''));
    else if (command === 'later') void this.#io.released.then(() => this.#io.print(words[0] === 'bell' ? '\x07' : 'later\r\n'));
    else if (command === 'yes') await this.#yes();
    else await print(`sh: ${command}: not found\n`);
    return true;
  }

  /** Characters of several bytes, one byte a message. */
  async #split(print) {
    for (const byte of Buffer.from('grüße 日本語 👩‍👩‍👧 עברית ✓')) await this.#io.print(Buffer.from([byte]));
    await print('\n');
  }

  async #yes() {
    this.#running = new AbortController();
    const { signal } = this.#running;
    const block = 'y\r\n'.repeat(5000);
    void (async () => {
      while (!signal.aborted && this.#io.alive()) await this.#io.print(block);
      this.#running = null;
      await this.#io.print(`^C\r\n${PROMPT}`);
    })();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const COLOURS = `${[0, 1, 2, 3, 4, 5, 6, 7].map((n) => `\x1b[3${n}m■■ ${n}\x1b[0m `).join('')}
${[0, 1, 2, 3, 4, 5, 6, 7].map((n) => `\x1b[9${n}m■■ ${n}\x1b[0m `).join('')}
\x1b[38;2;255;120;0mtrue colour\x1b[0m \x1b[48;2;0;90;160m\x1b[38;2;255;255;255m on blue \x1b[0m \x1b[4:3mcurly\x1b[0m \x1b[1mbold\x1b[0m \x1b[3mitalic\x1b[0m
`;
