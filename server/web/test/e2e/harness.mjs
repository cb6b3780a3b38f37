/** A list of named tests, run a few at a time, and the account of it. */

/** Tests that run at the same time: browsers wait more than they compute. */
const PARALLEL = Number(process.env.PERISCOPE_E2E_PARALLEL ?? 3);

export class Suite {
  #tests = [];
  #only;

  /** `only`: words that a test's name must hold to be run. */
  constructor(only = '') {
    this.#only = only;
  }

  test(name, action) {
    if (name.includes(this.#only)) this.#tests.push({ name, action });
  }

  /** Runs all tests; returns the names of those that failed. Each is reported when it ends, and all are listed last. */
  async run(parallel = PARALLEL) {
    const waiting = [...this.#tests];
    const results = [];
    const worker = async () => {
      for (let test = waiting.shift(); test !== undefined; test = waiting.shift()) {
        const started = Date.now();
        let error = null;
        try {
          await test.action();
        } catch (reason) {
          error = reason;
        }
        const milliseconds = Date.now() - started;
        results.push({ name: test.name, error });
        console.log(`${error === null ? 'ok  ' : 'FAIL'} ${test.name} (${milliseconds} ms)`);
        if (error !== null) console.log(indented(error));
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    const failed = results.filter((result) => result.error !== null).map((result) => result.name);
    console.log(`\n${results.length - failed.length} of ${results.length} tests passed`);
    for (const name of failed) console.log(`FAILED: ${name}`);
    return failed;
  }
}

function indented(error) {
  return String(error?.stack ?? error).replaceAll(/^/gm, '       ');
}
