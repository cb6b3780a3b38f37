//! Frames on the wire, cut by a few lines that share nothing with the core.

/// A WebSocket frame: its first byte (FIN and opcode) and its payload without the mask.
pub(crate) type WebSocketFrame = (u8, Vec<u8>);

pub(crate) const CLOSE: u8 = 0x88;

/// All frames of one direction. Panics on half a frame and on the wrong masking.
pub(crate) fn websocket_frames(mut bytes: &[u8], is_masked: bool) -> Vec<WebSocketFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (kind, second) = (bytes[0], bytes[1]);
        assert_eq!(second & 0x80 != 0, is_masked, "masking of frame {kind:#x}");
        bytes = &bytes[2..];
        let length = match second & 0x7f {
            126 => take_number(&mut bytes, 2),
            127 => take_number(&mut bytes, 8),
            short => usize::from(short),
        };
        let mask: Vec<u8> = if is_masked {
            take(&mut bytes, 4).to_vec()
        } else {
            vec![0]
        };
        let payload = take(&mut bytes, length).iter().zip(mask.iter().cycle());
        frames.push((kind, payload.map(|(byte, mask)| byte ^ mask).collect()));
    }
    frames
}

/// A SPDY frame (SPDY/3.1 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpdyFrame {
    /// Type number of a control frame; none is data.
    pub(crate) control: Option<u16>,
    /// The stream, also where it stands in a control frame's payload (a GOAWAY's last one).
    pub(crate) id: u32,
    pub(crate) flags: u8,
    /// What follows: data, or a control frame's payload behind the stream.
    pub(crate) rest: Vec<u8>,
}

pub(crate) const SYN_STREAM: u16 = 1;
pub(crate) const SYN_REPLY: u16 = 2;
pub(crate) const RST_STREAM: u16 = 3;
pub(crate) const GOAWAY: u16 = 7;
pub(crate) const FIN: u8 = 1;

impl SpdyFrame {
    /// All frames of one direction. Some clients hung up inside their farewell, so half a frame at
    /// the end is left away.
    pub(crate) fn split(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        while bytes.len() >= 8 {
            let word = u32::from_be_bytes(bytes[..4].try_into().unwrap());
            let flags = bytes[4];
            bytes = &bytes[5..];
            let length = take_number(&mut bytes, 3);
            if bytes.len() < length {
                break;
            }
            let mut payload = take(&mut bytes, length);
            let control = (word >> 31 == 1).then_some(u16::try_from(word & 0xffff).unwrap());
            let id = match control {
                None => word,
                Some(_) => u32::try_from(take_number(&mut payload, 4)).unwrap(),
            };
            frames.push(Self {
                control,
                id,
                flags,
                rest: payload.to_vec(),
            });
        }
        frames
    }

    pub(crate) fn is(&self, control: u16) -> bool {
        self.control == Some(control)
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        let length = match self.control {
            None => {
                bytes.extend(self.id.to_be_bytes());
                self.rest.len()
            }
            Some(kind) => {
                bytes.extend([0x80, 3]);
                bytes.extend(kind.to_be_bytes());
                self.rest.len() + 4
            }
        };
        bytes.push(self.flags);
        bytes.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        if self.control.is_some() {
            bytes.extend(self.id.to_be_bytes());
        }
        bytes.extend(&self.rest);
    }

    pub(crate) fn join(frames: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        bytes
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

fn take_number(bytes: &mut &[u8], length: usize) -> usize {
    take(bytes, length)
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A way to cut a stream of bytes into reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Whole,
    Bytes,
    /// Pieces of 1 to 60 bytes, mostly, from a seed.
    Random(u64),
}

impl Cut {
    pub(crate) const ALL: [Self; 8] = [
        Self::Whole,
        Self::Bytes,
        Self::Random(1),
        Self::Random(2),
        Self::Random(3),
        Self::Random(4),
        Self::Random(5),
        Self::Random(6),
    ];

    /// The pieces, and how much room the receiver has for each.
    pub(crate) fn pieces(self, mut bytes: &[u8]) -> Vec<(&[u8], usize)> {
        let mut pieces = Vec::new();
        match self {
            Self::Whole => pieces.push((bytes, usize::MAX)),
            Self::Bytes => pieces.extend(bytes.chunks(1).map(|byte| (byte, 1))),
            Self::Random(seed) => {
                let mut state = seed;
                let mut next = move || {
                    // Knuth's MMIX generator: the low bits are poor, the high ones are not.
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    usize::try_from(state >> 40).unwrap()
                };
                while !bytes.is_empty() {
                    let most = if next() % 8 == 0 { 9000 } else { 60 };
                    let length = (1 + next() % most).min(bytes.len());
                    let room = 1 + next() % most;
                    pieces.push((take(&mut bytes, length), room));
                }
            }
        }
        pieces
    }
}
