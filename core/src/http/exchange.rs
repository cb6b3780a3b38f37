//! One plain request and its answer, on a connection of its own: how a host without an HTTP client
//! asks an apiserver what it has to know before a session.

use bytes::{Bytes, BytesMut};

use super::body::Body;
use super::client::check_head;
use super::head::{self, HeadScan};
use super::{Error, Misuse, SecretValue};
use crate::limits::INTERIM_ANSWERS_MAX;
use crate::outbox::Outbox;

/// One exchange, from the request to the end of its answer.
///
/// ```text
///  Head ──final status──▶ Body ──its end, or the connection's where that ends it──▶ Done
///   ▲└ 1xx
/// ```
#[derive(Debug)]
pub struct Exchange {
    state: State,
    /// How much of a body the caller takes.
    body_max: usize,
}

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct PlainRequest<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The `Host`, with a port where it is not the scheme's own.
    pub host: &'a str,
    /// Path and query, percent-encoded.
    pub target: &'a str,
    /// Headers besides `Host`, `Connection` and those that frame the body.
    pub headers: &'a [(String, SecretValue)],
    /// The body, sent as JSON; empty for none.
    pub body: &'a [u8],
}

/// A final answer, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl Exchange {
    /// Sends a request that asks for the end of the connection behind its answer. A body of more
    /// than `body_max` bytes is an error.
    pub fn start(
        request: &PlainRequest<'_>,
        body_max: usize,
        out: &mut Outbox,
    ) -> Result<Self, Misuse> {
        check_head(request.host, request.target, request.headers)?;
        if !head::is_token(request.method) {
            return Err(Misuse::Method);
        }
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nConnection: close\r\n",
            request.method, request.target, request.host
        );
        for (name, value) in request.headers {
            for part in [name, ": ", value.as_str(), "\r\n"] {
                text.push_str(part);
            }
        }
        if !request.body.is_empty() {
            let len = request.body.len().to_string();
            for part in [
                "Content-Type: application/json\r\nContent-Length: ",
                &len,
                "\r\n",
            ] {
                text.push_str(part);
            }
        }
        text.push_str("\r\n");
        out.push_pair(Bytes::from(text), Bytes::copy_from_slice(request.body));
        Ok(Self {
            state: State::Head {
                scan: HeadScan::default(),
                interim: 0,
            },
            body_max,
        })
    }

    /// Takes the answer off `input`; `None` means it needs more, or that the answer was already
    /// returned. An error sticks.
    pub fn receive(&mut self, input: &mut BytesMut) -> Result<Option<PlainAnswer>, Error> {
        let received = self.advance(input);
        if let Err(error) = received {
            self.state = State::Failed(error);
        }
        received
    }

    /// The peer closed and `input` is all that is left.
    pub fn eof(&mut self, input: &mut BytesMut) -> Result<Option<PlainAnswer>, Error> {
        if let Some(answer) = self.receive(input)? {
            return Ok(Some(answer));
        }
        match core::mem::replace(&mut self.state, State::Failed(Error::Eof)) {
            State::Body { status, body } if body.ends_with_connection() => {
                self.state = State::Done;
                Ok(Some(answer(status, body)))
            }
            State::Done => {
                self.state = State::Done;
                Ok(None)
            }
            State::Head { .. } | State::Body { .. } => Err(Error::Eof),
            State::Failed(error) => {
                self.state = State::Failed(error);
                Err(error)
            }
        }
    }

    fn advance(&mut self, input: &mut BytesMut) -> Result<Option<PlainAnswer>, Error> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(*error),
                State::Done => return Ok(None),
                State::Head { scan, interim } => {
                    let Some(head) = scan.take_head(input)? else {
                        return Ok(None);
                    };
                    let response = head::parse_response(&head)?;
                    if (100..=199).contains(&response.status) {
                        *interim = interim.saturating_add(1);
                        if *interim > INTERIM_ANSWERS_MAX {
                            return Err(Error::TooManyInterim);
                        }
                        continue;
                    }
                    let length = head::body_length(&response.headers)?;
                    // One byte more than is wanted shows that there is too much.
                    let max = self.body_max.saturating_add(1);
                    self.state = State::Body {
                        status: response.status,
                        body: Body::new(response.status, length, max),
                    };
                }
                State::Body { body, .. } => {
                    let is_done = body.receive(input)?;
                    if body.len() > self.body_max {
                        return Err(Error::BodyTooLarge);
                    }
                    if !is_done {
                        return Ok(None);
                    }
                    if let State::Body { status, body } =
                        core::mem::replace(&mut self.state, State::Done)
                    {
                        return Ok(Some(answer(status, body)));
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
enum State {
    Head { scan: HeadScan, interim: usize },
    Body { status: u16, body: Body },
    Done,
    Failed(Error),
}

fn answer(status: u16, body: Body) -> PlainAnswer {
    PlainAnswer {
        status,
        body: body.into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> PlainRequest<'static> {
        PlainRequest {
            method: "POST",
            host: "h:1",
            target: "/apis?x=y",
            headers: &[],
            body: b"{}",
        }
    }

    fn feed(pieces: &[&[u8]], then_eof: bool) -> Result<Option<PlainAnswer>, Error> {
        let mut exchange = Exchange::start(&request(), 8, &mut Outbox::new()).unwrap();
        let mut input = BytesMut::new();
        for piece in pieces {
            input.extend_from_slice(piece);
            if let Some(answer) = exchange.receive(&mut input)? {
                assert_eq!(exchange.receive(&mut input), Ok(None), "said once");
                return Ok(Some(answer));
            }
        }
        if then_eof {
            exchange.eof(&mut input)
        } else {
            Ok(None)
        }
    }

    /// Whole and byte by byte.
    fn read(bytes: &[u8], then_eof: bool) -> Result<Option<PlainAnswer>, Error> {
        let whole = feed(&[bytes], then_eof);
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(feed(&singles, then_eof), whole);
        whole
    }

    fn found(status: u16, body: &'static [u8]) -> PlainAnswer {
        let body = Bytes::from_static(body);
        PlainAnswer { status, body }
    }

    #[test]
    fn a_request_frames_its_body_and_asks_for_the_end() {
        let mut out = Outbox::new();
        let headers = [("A".to_owned(), SecretValue::new("b").unwrap())];
        let asked = PlainRequest {
            headers: &headers,
            ..request()
        };
        Exchange::start(&asked, 8, &mut out).unwrap();
        let text: Vec<u8> = out.chunks().flatten().copied().collect();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "POST /apis?x=y HTTP/1.1\r\nHost: h:1\r\nAccept: application/json\r\n\
             Connection: close\r\nA: b\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn a_head_that_could_be_read_as_another_is_our_bug() {
        let taken = [("Connection".to_owned(), SecretValue::new("x").unwrap())];
        let cases = [
            (
                PlainRequest {
                    method: "G ET",
                    ..request()
                },
                Misuse::Method,
            ),
            (
                PlainRequest {
                    host: "a b",
                    ..request()
                },
                Misuse::Host,
            ),
            (
                PlainRequest {
                    target: "x",
                    ..request()
                },
                Misuse::Target,
            ),
            (
                PlainRequest {
                    headers: &taken,
                    ..request()
                },
                Misuse::HeaderOfHandshake,
            ),
        ];
        for (asked, misuse) in cases {
            let started = Exchange::start(&asked, 8, &mut Outbox::new());
            assert_eq!(started.err(), Some(misuse));
        }
    }

    #[test]
    fn an_answer_ends_as_its_head_says() {
        let counted =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(read(counted, false), Ok(Some(found(201, b"abc"))));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n";
        assert_eq!(read(chunked, false), Ok(Some(found(200, b"abc"))));
        let unsaid = b"HTTP/1.1 404 Not Found\r\n\r\nabc";
        assert_eq!(read(unsaid, false), Ok(None));
        assert_eq!(read(unsaid, true), Ok(Some(found(404, b"abc"))));
    }

    /// Unlike a refusal, which is one however much of it came.
    #[test]
    fn half_an_answer_is_none() {
        for half in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert_eq!(read(half, true), Err(Error::Eof), "{half:?}");
        }
    }

    #[test]
    fn an_answer_beyond_the_limit_is_refused_before_it_ends() {
        let fits = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n12345678";
        assert_eq!(read(fits, false), Ok(Some(found(200, b"12345678"))));
        for long in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n123456789"[..],
            b"HTTP/1.1 200 OK\r\n\r\n123456789",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n123456789",
        ] {
            assert_eq!(read(long, false), Err(Error::BodyTooLarge), "{long:?}");
        }
    }

    #[test]
    fn endless_interim_answers_are_refused() {
        let many = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(INTERIM_ANSWERS_MAX + 1);
        assert_eq!(read(&many, false), Err(Error::TooManyInterim));
    }
}
