//! What may happen to a session, one operation after the other.

use arbitrary::{Arbitrary, Result, Unstructured};

/// How a run is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Bit 0: the session reads the browser's handshake itself. 1: tty. 2: `flow=ack`. 3: the
    /// caller chose the command. 4: SPDY first. 5: both peers answer pings. 6: the browser told a
    /// size. 7: peers answer their part of a closing handshake.
    pub flags: u8,
    /// Bytes one read gives in the third feed.
    pub step: u8,
}

/// One thing that happens; then everything runs until nothing moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Time passes: an index of the table of spans.
    Wait(u8),
    /// The browser sends terminal bytes.
    Type(Vec<u8>),
    /// The browser sends a text message.
    Text(Vec<u8>),
    /// The browser's window has these columns and rows.
    Resize(u8, u8),
    /// The browser acknowledges: 0 all it got, 1 half of it, else more than it got.
    Ack(u8),
    /// The browser ends stdin.
    Eof,
    /// The browser sends a Close frame with this code.
    BrowserClose(u16),
    /// The browser sends bytes.
    BrowserRaw(Vec<u8>),
    /// The browser's socket ends: reset if odd.
    BrowserGone(u8),
    /// The browser's socket takes only so many more bytes.
    BrowserTakes(u16),
    /// The browser sends its handshake.
    Request,
    /// The host admits, or refuses if odd.
    Admit(u8),
    /// The host connects to the apiserver.
    Connect,
    /// The host cannot, for one of four reasons.
    DialFails(u8),
    /// The apiserver answers 101. Bits 0 and 1: rightly, with a wrong accept key, with a wrong
    /// subprotocol, without one. Bit 2: it replies to SPDY streams only when told.
    Accept(u8),
    /// The apiserver refuses, in one of several ways.
    Refuse(u8),
    /// The apiserver sends a payload so many times over on the stream of a channel number.
    Output(u8, u8, Vec<u8>),
    /// The apiserver tells an outcome.
    Status(u8),
    /// The apiserver replies to the streams that wait for it.
    Reply,
    /// The apiserver ends its protocol, in one of several orders.
    ApiEnd(u8),
    /// The apiserver sends bytes.
    ApiRaw(Vec<u8>),
    /// The apiserver's socket ends: reset if odd.
    ApiGone(u8),
    /// The apiserver's socket takes only so many more bytes.
    ApiTakes(u16),
    /// The host looks for the pod: an index of its states.
    Pod(u8),
    /// The process leaves in so many seconds.
    Drain(u8),
    /// Somebody ends the session: an index of details.
    End(u8),
}

/// Operations of one run; more would only make it slow.
const OPERATIONS_MAX: usize = 96;

/// How many operations there are.
const COUNT: u8 = 26;

impl<'a> Arbitrary<'a> for Setup {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self {
            flags: u.arbitrary()?,
            step: u.arbitrary()?,
        })
    }
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? % COUNT {
            0 => Self::Wait(u.arbitrary()?),
            1 => Self::Type(payload(u)?),
            2 => Self::Text(payload(u)?),
            3 => Self::Resize(u.arbitrary()?, u.arbitrary()?),
            4 => Self::Ack(u.arbitrary()?),
            5 => Self::Eof,
            6 => Self::BrowserClose(u.arbitrary()?),
            7 => Self::BrowserRaw(payload(u)?),
            8 => Self::BrowserGone(u.arbitrary()?),
            9 => Self::BrowserTakes(u.arbitrary()?),
            10 => Self::Request,
            11 => Self::Admit(u.arbitrary()?),
            12 => Self::Connect,
            13 => Self::DialFails(u.arbitrary()?),
            14 => Self::Accept(u.arbitrary()?),
            15 => Self::Refuse(u.arbitrary()?),
            16 => Self::Output(u.arbitrary()?, u.arbitrary()?, payload(u)?),
            17 => Self::Status(u.arbitrary()?),
            18 => Self::Reply,
            19 => Self::ApiEnd(u.arbitrary()?),
            20 => Self::ApiRaw(payload(u)?),
            21 => Self::ApiGone(u.arbitrary()?),
            22 => Self::ApiTakes(u.arbitrary()?),
            23 => Self::Pod(u.arbitrary()?),
            24 => Self::Drain(u.arbitrary()?),
            _ => Self::End(u.arbitrary()?),
        })
    }
}

/// A length, then as many bytes as are there.
fn payload(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = usize::from(u.arbitrary::<u8>()?);
    Ok(u.bytes(len.min(u.len()))?.to_vec())
}

/// Reads a run off an input.
pub fn decode(data: &[u8]) -> Option<(Setup, Vec<Operation>)> {
    let mut u = Unstructured::new(data);
    let setup = Setup::arbitrary(&mut u).ok()?;
    let mut operations = Vec::new();
    while !u.is_empty() && operations.len() < OPERATIONS_MAX {
        operations.push(u.arbitrary().ok()?);
    }
    Some((setup, operations))
}

/// The input that [`decode`] reads this run off, for seeds.
pub fn encode(setup: Setup, operations: &[Operation]) -> Vec<u8> {
    let mut data = vec![setup.flags, setup.step];
    for operation in operations {
        operation.put(&mut data);
    }
    data
}

impl Operation {
    /// Bytes of payload it makes.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Type(bytes)
            | Self::Text(bytes)
            | Self::BrowserRaw(bytes)
            | Self::ApiRaw(bytes) => bytes.len(),
            Self::Output(_, times, bytes) => bytes.len() * usize::from(*times),
            _ => 0,
        }
    }

    fn put(&self, data: &mut Vec<u8>) {
        let (tag, arguments, payload): (u8, &[u8], Option<&[u8]>) = match self {
            Self::Wait(a) => (0, &[*a], None),
            Self::Type(bytes) => (1, &[], Some(bytes)),
            Self::Text(bytes) => (2, &[], Some(bytes)),
            Self::Resize(a, b) => (3, &[*a, *b], None),
            Self::Ack(a) => (4, &[*a], None),
            Self::Eof => (5, &[], None),
            Self::BrowserClose(code) => (6, &code.to_le_bytes(), None),
            Self::BrowserRaw(bytes) => (7, &[], Some(bytes)),
            Self::BrowserGone(a) => (8, &[*a], None),
            Self::BrowserTakes(room) => (9, &room.to_le_bytes(), None),
            Self::Request => (10, &[], None),
            Self::Admit(a) => (11, &[*a], None),
            Self::Connect => (12, &[], None),
            Self::DialFails(a) => (13, &[*a], None),
            Self::Accept(a) => (14, &[*a], None),
            Self::Refuse(a) => (15, &[*a], None),
            Self::Output(a, b, bytes) => (16, &[*a, *b], Some(bytes)),
            Self::Status(a) => (17, &[*a], None),
            Self::Reply => (18, &[], None),
            Self::ApiEnd(a) => (19, &[*a], None),
            Self::ApiRaw(bytes) => (20, &[], Some(bytes)),
            Self::ApiGone(a) => (21, &[*a], None),
            Self::ApiTakes(room) => (22, &room.to_le_bytes(), None),
            Self::Pod(a) => (23, &[*a], None),
            Self::Drain(a) => (24, &[*a], None),
            Self::End(a) => (25, &[*a], None),
        };
        data.push(tag);
        data.extend_from_slice(arguments);
        if let Some(bytes) = payload {
            let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
            data.push(len);
            data.extend_from_slice(&bytes[..usize::from(len)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decodes_to_the_operations_it_was_made_of() {
        let setup = Setup { flags: 3, step: 7 };
        let operations: Vec<Operation> = (0..COUNT)
            .map(|tag| {
                let bytes = [tag, 3, 3, b'a', b'b', b'c'];
                Operation::arbitrary(&mut Unstructured::new(&bytes)).unwrap()
            })
            .collect();
        let data = encode(setup, &operations);
        assert_eq!(decode(&data), Some((setup, operations)));
    }
}
