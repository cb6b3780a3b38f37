/** Colours of the terminal for what the system asks for: dark or light, and more contrast or not. */

import type { ITheme } from '@xterm/xterm';

const DARK: ITheme = {
  background: '#0d1117',
  foreground: '#d7dde5',
  cursor: '#5eead4',
  cursorAccent: '#0d1117',
  selectionBackground: '#2f4f6f',
  black: '#1b222c',
  red: '#ff7b72',
  green: '#56d364',
  yellow: '#e3b341',
  blue: '#79b8ff',
  magenta: '#d2a8ff',
  cyan: '#56d4dd',
  white: '#c9d1d9',
  brightBlack: '#7d8793',
  brightRed: '#ffa198',
  brightGreen: '#7ee787',
  brightYellow: '#f2cc60',
  brightBlue: '#a5d6ff',
  brightMagenta: '#e2c5ff',
  brightCyan: '#8ae9ef',
  brightWhite: '#ffffff',
};

const LIGHT: ITheme = {
  background: '#ffffff',
  foreground: '#1f2733',
  cursor: '#0f766e',
  cursorAccent: '#ffffff',
  selectionBackground: '#b6dcf5',
  black: '#1f2733',
  red: '#b3261e',
  green: '#17692e',
  yellow: '#7a5200',
  blue: '#0a58a8',
  magenta: '#7a3ea8',
  cyan: '#0b6a72',
  white: '#5b6572',
  brightBlack: '#55606e',
  brightRed: '#c2362d',
  brightGreen: '#1d7a38',
  brightYellow: '#8a5f00',
  brightBlue: '#1668bd',
  brightMagenta: '#8b4dbb',
  brightCyan: '#0f7b85',
  brightWhite: '#313a46',
};

const DARK_CONTRAST: ITheme = { ...DARK, background: '#000000', foreground: '#ffffff', cursor: '#ffff00', selectionBackground: '#0050c8' };
const LIGHT_CONTRAST: ITheme = { ...LIGHT, background: '#ffffff', foreground: '#000000', cursor: '#000000', selectionBackground: '#9cc9ff' };

export interface Appearance {
  theme: ITheme;
  /** WCAG contrast that every colour pair of the terminal is lifted to. */
  minimumContrastRatio: number;
}

const queries = {
  light: '(prefers-color-scheme: light)',
  contrast: '(prefers-contrast: more), (forced-colors: active)',
};

export function appearance(): Appearance {
  const light = matchMedia(queries.light).matches;
  const contrast = matchMedia(queries.contrast).matches;
  if (contrast) return { theme: light ? LIGHT_CONTRAST : DARK_CONTRAST, minimumContrastRatio: 7 };
  return { theme: light ? LIGHT : DARK, minimumContrastRatio: 4.5 };
}

export function onAppearanceChange(changed: () => void, signal: AbortSignal): void {
  for (const query of Object.values(queries)) {
    matchMedia(query).addEventListener('change', changed, { signal });
  }
}
