// Breaks the session on purpose, one rule at a time, and demands that the simulation notices.
//
// A simulation that passes proves nothing until it is known to fail. Each mutant below is a change
// of the core's source; the simulator then runs its seeds against it and must report a violation.
// A mutant whose text is not found any more fails too, so the list cannot rot silently.

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const SEEDS = process.env.SEEDS ?? "2000";
const root = execFileSync("git", ["rev-parse", "--show-toplevel"], { encoding: "utf8" }).trim();
const target = process.env.CARGO_TARGET_DIR ?? join(root, "target");
const copy = join(target, "mutants", "tree");

const session = (file) => `core/src/session/${file}.rs`;
const MUTANTS = [
  {
    name: "a byte of output is lost",
    edits: [[session("downstream"), "self.browser.send_output(run);", "let mut run = run; if run.len() > 500 { run.truncate(run.len() - 1); } self.browser.send_output(run);"]],
  },
  {
    name: "a run of stdin is doubled",
    edits: [[session("upstream"), "api.send_stdin(run);", "api.send_stdin(run.clone()); api.send_stdin(run);"]],
  },
  {
    name: "runs of a queue are swapped",
    edits: [[session("queue"), "self.runs.push_back(run);", "self.runs.push_front(run);"]],
  },
  {
    name: "the end is told twice",
    edits: [[session("live"), "    pub(super) fn emit(&mut self, event: Event) {", "    pub(super) fn emit(&mut self, event: Event) {\n        if matches!(event, Event::Ended(_)) { self.outputs.push_back(Output::Event(event.clone())); }"]],
  },
  {
    name: "a slot is leaked when the browser vanishes",
    edits: [[session("ending"), "self.outputs.push_back(Output::Over);", "if orderly { self.outputs.push_back(Output::Over); }"]],
  },
  {
    name: "the idle timer is missed",
    edits: [[session("live"), "Timer::Idle => self.on_idle(),", "Timer::Idle => {}"]],
  },
  {
    name: "a lost heartbeat is missed",
    edits: [[session("live"), "Timer::Lost => self.on_lost(),", "Timer::Lost => {}"]],
  },
  {
    name: "the flush of a killed session has no end",
    edits: [[session("live"), "Timer::Flush => self.on_flush_timeout(),", "Timer::Flush => {}"]],
  },
  {
    name: "output is queued without bound",
    edits: [[session("upstream"), "OUTPUT_QUEUE_BYTES_HIGH.saturating_sub(self.output_waiting())", "OUTPUT_QUEUE_BYTES_HIGH"],
            [session("live"), "(Leg::Api, _) => OUTPUT_QUEUE_BYTES_HIGH.saturating_sub(self.output_waiting())", "(Leg::Api, _) => OUTPUT_QUEUE_BYTES_HIGH"],
            [session("live"), "let paused = self.output_waiting() >= limit;", "let paused = self.output_waiting() >= limit.saturating_mul(4);"]],
  },
  {
    name: "a caller's own command is run twice",
    edits: [[session("dial"), "if self.config.own_command {", "if false {"]],
  },
  {
    name: "`closed` is said before the output is out",
    edits: [[session("ending"), "if self.output.is_empty() && (own || self.browser.outbox().is_empty())", "if own || self.browser.outbox().is_empty() || !self.output.is_empty()"]],
  },
  {
    name: "the exit code is wrong",
    edits: [[session("upstream"), "Ending::exit(code)", "Ending::exit(code ^ 1)"]],
  },
  {
    name: "the breaker is told twice",
    edits: [[session("dial"), "self.dial.breaker_untold = false;", ""]],
  },
];

function mutate(edits) {
  for (const [file, from, to] of edits) {
    const path = join(copy, file);
    writeFileSync(path, readFileSync(path, "utf8").replace(from, () => to));
  }
}

function restore(edits) {
  for (const [file] of edits) cpSync(join(root, file), join(copy, file));
}

function simulate() {
  // Cargo compares times: a file that was put back has to look new.
  const env = { ...process.env, CARGO_TARGET_DIR: join(target, "mutants", "target"), SEEDS, FIRST: "1", RUST_BACKTRACE: "0", RUSTFLAGS: "-Awarnings" };
  const args = ["test", "-q", "-p", "periscope-core", "--features", "sim", "--test", "simulation", "bytes_are_conserved"];
  const run = spawnSync("cargo", args, { cwd: copy, env, encoding: "utf8", timeout: 300_000 });
  const output = `${run.stdout}\n${run.stderr}`;
  if (/error(\[E\d+\])?: (?!test failed)/.test(output) && !output.includes("SEED=")) {
    throw new Error(`a mutant does not compile:\n${output.slice(-3000)}`);
  }
  return { failed: run.status !== 0, reason: (/SEED=\d+: .{0,90}/.exec(output) ?? /panicked at .*/.exec(output))?.[0] ?? "" };
}

rmSync(copy, { recursive: true, force: true });
const files = execFileSync("git", ["ls-files", "*.rs", "*.toml", "Cargo.lock"], { cwd: root, encoding: "utf8" }).trim().split("\n");
for (const file of files) {
  mkdirSync(dirname(join(copy, file)), { recursive: true });
  cpSync(join(root, file), join(copy, file));
}

// A stale list is told at once, not after half an hour of simulations.
const stale = MUTANTS.flatMap(({ name, edits }) =>
  edits.filter(([file, from]) => !readFileSync(join(copy, file), "utf8").includes(from)).map(([file]) => `${name}: ${file}`),
);
if (stale.length > 0) {
  console.error(`these mutants' texts are not in the source any more:\n${stale.join("\n")}`);
  process.exit(1);
}

let missed = 0;
const sound = simulate();
if (sound.failed) {
  console.error(`the unbroken session fails already: ${sound.reason}`);
  process.exit(1);
}
console.log("unbroken  passes");
for (const { name, edits } of MUTANTS) {
  mutate(edits);
  const { failed, reason } = simulate();
  restore(edits);
  console.log(`${failed ? "caught" : "MISSED"}    ${name}  (${reason.replaceAll("\n", " ")})`);
  if (!failed) missed += 1;
}
console.log(`mutants: ${MUTANTS.length - missed} of ${MUTANTS.length} caught within ${SEEDS} seeds`);
process.exit(missed === 0 ? 0 : 1);
