/** What the user prefers, kept in this browser. Without storage the defaults hold for this page. */

import { HIDDEN_SECONDS } from './terminal/hidden.ts';

export interface Settings {
  fontSize: number;
  copyOnSelect: boolean;
  screenReader: boolean;
  hiddenSeconds: number;
  /** What draws the terminal: the graphics card where there is a real one, or as told. */
  renderer: 'auto' | 'dom' | 'webgl';
}

export const FONT_SIZES = { smallest: 9, usual: 14, largest: 28 } as const;

const KEY = 'periscope.settings';

export function readSettings(): Settings {
  const settings: Settings = {
    fontSize: FONT_SIZES.usual,
    copyOnSelect: true,
    screenReader: false,
    hiddenSeconds: HIDDEN_SECONDS,
    renderer: 'auto',
  };
  let stored: Partial<Record<keyof Settings, unknown>> = {};
  try {
    stored = (JSON.parse(localStorage.getItem(KEY) ?? '{}') ?? {}) as typeof stored;
  } catch {
    return settings;
  }
  const { fontSize, copyOnSelect, screenReader, hiddenSeconds, renderer } = stored;
  if (typeof fontSize === 'number' && fontSize >= FONT_SIZES.smallest && fontSize <= FONT_SIZES.largest) {
    settings.fontSize = Math.round(fontSize);
  }
  if (typeof copyOnSelect === 'boolean') settings.copyOnSelect = copyOnSelect;
  if (typeof screenReader === 'boolean') settings.screenReader = screenReader;
  if (typeof hiddenSeconds === 'number' && hiddenSeconds >= 1) settings.hiddenSeconds = hiddenSeconds;
  if (renderer === 'dom' || renderer === 'webgl') settings.renderer = renderer;
  return settings;
}

export function writeSettings(settings: Settings): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // Private windows may refuse storage; the settings then last as long as the page.
  }
}
