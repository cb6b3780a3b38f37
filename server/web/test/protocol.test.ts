import { describe, expect, test } from 'vitest';
import { ACK_EVERY_BYTES, STDIN_AHEAD_BYTES, ConsoleSession, decodeFrame, encodeFrame } from '../src/protocol.ts';
import { HELLO } from './hello.ts';

function open(hello: object = HELLO): ConsoleSession {
  const session = new ConsoleSession();
  session.socketOpened();
  session.receiveText(JSON.stringify(hello), 1000);
  return session;
}

describe('frames', () => {
  test('up frames are the JSON the gateway expects', () => {
    expect(JSON.parse(encodeFrame({ type: 'resize', cols: 80, rows: 24 }))).toEqual({ type: 'resize', cols: 80, rows: 24 });
    expect(JSON.parse(encodeFrame({ type: 'close', reason: 'hidden' }))).toEqual({ type: 'close', reason: 'hidden' });
    expect(JSON.parse(encodeFrame({ type: 'ack', bytes: 5 }))).toEqual({ type: 'ack', bytes: 5 });
  });

  test('a hello keeps every field', () => {
    expect(decodeFrame(JSON.stringify(HELLO))).toEqual(HELLO);
  });

  test.each(['', 'nonsense', '[]', 'null', '3', '{}', '{"type":7}', '{"type":"later"}', '{"type":"hello"}', '{"type":"drain"}'])(
    'the text %j is ignored, not fatal',
    (text) => {
      expect(decodeFrame(text)).toBeUndefined();
    },
  );

  test('fields of a wrong type become unknown instead of lies', () => {
    expect(decodeFrame('{"type":"closed","reason":"client_close","detail":4,"exitCode":"7","truncated":"no"}')).toEqual({
      type: 'closed',
      reason: 'client_close',
      detail: '',
      exitCode: null,
      truncated: null,
    });
  });

  test('an unknown extra field is no obstacle', () => {
    expect(decodeFrame('{"type":"idle_clear","colour":"red"}')).toEqual({ type: 'idle_clear' });
  });
});

describe('a session', () => {
  test('goes from connecting over starting to open', () => {
    const session = new ConsoleSession();
    expect(session.phase).toBe('connecting');
    session.socketOpened();
    expect(session.phase).toBe('starting');
    session.receiveText(JSON.stringify(HELLO), 5);
    expect(session.phase).toBe('open');
    expect(session.openedAt).toBe(5);
  });

  test('warns of idleness until it is told that all is well', () => {
    const session = open();
    session.receiveText('{"type":"idle_warn","secondsRemaining":30}', 2000);
    expect(session.idleDeadline).toBe(32_000);
    session.receiveText('{"type":"idle_clear"}', 3000);
    expect(session.idleDeadline).toBeNull();
  });

  test('counts down to the end of a drain', () => {
    const session = open();
    session.receiveText('{"type":"drain","secondsRemaining":10}', 2000);
    expect(session.drainDeadline).toBe(12_000);
  });

  test('acknowledges the total of consumed bytes, each time enough has gathered', () => {
    const session = open();
    expect(session.consumed(ACK_EVERY_BYTES - 1)).toBeUndefined();
    expect(session.consumed(1)).toBe(ACK_EVERY_BYTES);
    expect(session.consumed(10)).toBeUndefined();
    expect(session.consumed(ACK_EVERY_BYTES)).toBe(2 * ACK_EVERY_BYTES + 10);
  });

  test('holds input back until the gateway has passed on what was sent before', () => {
    const session = open({ ...HELLO, flow: 'both' });
    expect(session.consumed(ACK_EVERY_BYTES)).toBe(ACK_EVERY_BYTES);
    expect(session.stdinRoom).toBe(STDIN_AHEAD_BYTES);
    session.stdinSent(STDIN_AHEAD_BYTES);
    expect(session.stdinRoom).toBe(0);
    session.receiveText('{"type":"ack","bytes":1000}', 0);
    expect(session.stdinRoom).toBe(1000);
    session.receiveText('{"type":"ack","bytes":10}', 0);
    session.receiveText('{"type":"ack","bytes":"20000"}', 0);
    expect(session.stdinRoom).toBe(1000);
  });

  test('does not wait for a gateway that tells nothing about input', () => {
    const session = open();
    session.stdinSent(10 * STDIN_AHEAD_BYTES);
    expect(session.stdinRoom).toBe(Infinity);
  });

  test('acknowledges nothing to a gateway that did not agree to flow control', () => {
    expect(open({ ...HELLO, flow: 'none' }).consumed(10 * ACK_EVERY_BYTES)).toBeUndefined();
  });

  test('ends with what closed says and the last error before it', () => {
    const session = open();
    session.receiveText('{"type":"error","code":"E_IDLE","message":"no byte","retryable":false}', 2000);
    expect(session.phase).toBe('open');
    session.receiveText('{"type":"closed","reason":"server_idle","detail":"idle","exitCode":null,"truncated":false}', 2000);
    expect(session.end).toEqual({
      reason: 'server_idle',
      detail: 'idle',
      exitCode: null,
      truncated: false,
      error: { code: 'E_IDLE', message: 'no byte', retryable: false },
    });
  });

  test('ends once: what comes after closed changes nothing', () => {
    const session = open();
    session.receiveText('{"type":"closed","reason":"client_close","detail":"process_exit","exitCode":7,"truncated":false}', 2000);
    const end = session.end;
    session.socketLost();
    session.left('user_close');
    session.receiveText('{"type":"closed","reason":"x","detail":"y","exitCode":1,"truncated":true}', 2000);
    session.receiveText(JSON.stringify(HELLO), 2000);
    expect(session.end).toBe(end);
    expect(session.phase).toBe('ended');
  });

  test('says that output may be missing when the socket is lost under an open shell', () => {
    const session = open();
    session.socketLost();
    expect(session.end).toMatchObject({ reason: 'lost', detail: 'connection_lost', truncated: true });
  });
});
