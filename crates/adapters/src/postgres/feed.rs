//! The log as it comes over a connection, and what we say back: never more than is durable.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;
use lifeboat_vault::Clock;

use super::error::{PgError, Result};
use super::wire::{Connection, server_error, unexpected};

/// Microseconds from 1970 to PostgreSQL's own year 0, 2000.
const EPOCH: i64 = 946_684_800_000_000;
/// Longest wait for an answer that the server owes at once.
const ANSWER: Duration = Duration::from_secs(30);

/// What came.
#[derive(Debug)]
pub(crate) enum News {
    /// Log, and the instant up to which all is known to be in it or before it.
    Log(Bytes, Option<Timestamp>),
    /// The server is alive.
    Alive,
    /// The timeline is at its end.
    Ended,
}

/// One connection that streams.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) connection: Connection,
    /// End of what has come.
    received: u64,
    /// Up to where it is durable; 0 while nothing is known to be.
    durable: u64,
    /// When the server was last told, monotonic.
    told: Duration,
    /// How often it wants to be told.
    interval: Duration,
    /// What our clock is ahead of the server's, at most, microseconds.
    ahead: Option<i64>,
    /// Questions that the server has not answered, and when the last was asked.
    owed: (u32, Timestamp),
}

impl Feed {
    pub(crate) fn new(connection: Connection, from: u64, interval: Duration) -> Feed {
        let told = Duration::ZERO;
        Feed {
            connection,
            received: from,
            durable: 0,
            told,
            interval,
            ahead: None,
            owed: (0, Timestamp::UNIX_EPOCH),
        }
    }

    /// Goes on elsewhere: on another timeline, where the log may lead back.
    pub(crate) fn rebase(&mut self, at: u64) {
        self.received = at;
        self.durable = self.durable.min(at);
        // What was asked at the end of the old one was answered there, or never is.
        self.owed.0 = 0;
    }

    /// Says aloud that all up to here is durable.
    pub(crate) fn acknowledge(&mut self, to: u64) -> Result<()> {
        let to = to.min(self.received);
        if to > self.durable {
            self.durable = to;
            self.tell(false, self.told)?;
        }
        Ok(())
    }

    /// The last word before the end.
    pub(crate) fn tell_last(&mut self) -> Result<()> {
        self.tell(false, self.told)
    }

    /// When the server was last told, monotonic.
    pub(crate) fn told(&self) -> Duration {
        self.told
    }

    /// Tells the server where we are, if it has not been told for a while.
    pub(crate) fn tell_if_due(&mut self, now: Duration) -> Result<()> {
        if now.saturating_sub(self.told) >= self.interval { self.tell(false, now) } else { Ok(()) }
    }

    /// Standby status update. Written and flushed is what is durable, nothing else: the server
    /// forgets what it hears of here.
    pub(crate) fn tell(&mut self, answer: bool, now: Duration) -> Result<()> {
        let durable = self.durable;
        self.told = now;
        self.connection.send_with(|to| {
            to.put_u8(b'd');
            to.put_u32(4 + 34);
            to.put_u8(b'r');
            for _ in 0..3 {
                to.put_u64(durable);
            }
            // Only for display at the server.
            to.put_i64(0);
            to.put_u8(u8::from(answer));
            Ok(())
        })
    }

    /// What comes within `wait`. Requests for an answer are answered here.
    pub(crate) fn take(&mut self, wait: Duration, clock: &dyn Clock) -> Result<Option<News>> {
        let Some(mut frame) = self.connection.frame_within(wait)? else { return Ok(None) };
        match frame.tag {
            b'd' => self.read(&mut frame.body, clock).map(Some),
            b'c' => Ok(Some(News::Ended)),
            b'E' => {
                let said = server_error(frame.body)?;
                Err(PgError::Refused { what: "to stream on".to_owned(), said })
            }
            // The orderly end of a server that stops.
            b'C' => Err(PgError::lost("the server stops")),
            other => Err(unexpected(other, "streaming")),
        }
    }

    fn read(&mut self, body: &mut Bytes, clock: &dyn Clock) -> Result<News> {
        let short = |_| PgError::protocol("a message of the stream is cut off");
        match body.try_get_u8().map_err(short)? {
            b'w' => {
                let start = body.try_get_u64().map_err(short)?;
                let end = body.try_get_u64().map_err(short)?;
                let sent = body.try_get_i64().map_err(short)?;
                if start != self.received {
                    return Err(PgError::protocol("its log does not continue what came before"));
                }
                self.received += body.len() as u64;
                let complete = (self.received >= end).then(|| self.ours(sent, clock)).flatten();
                Ok(News::Log(body.split_to(body.len()), complete))
            }
            b'k' => {
                body.try_get_u64().map_err(short)?;
                let sent = body.try_get_i64().map_err(short)?;
                if body.try_get_u8().map_err(short)? == 1 {
                    self.tell(false, clock.monotonic())?;
                }
                self.answered(sent);
                Ok(News::Alive)
            }
            other => Err(unexpected(other, "streaming")),
        }
    }

    /// A time of the server's clock by ours, never later than it was.
    fn ours(&self, sent: i64, clock: &dyn Clock) -> Option<Timestamp> {
        let micros = sent.checked_add(EPOCH)?.checked_add(self.ahead?)?;
        let time = Timestamp::from_microsecond(micros).ok()?;
        Some(time.min(clock.wall()))
    }

    /// An answer was sent after its question was asked: our clock is ahead by no more than this.
    fn answered(&mut self, sent: i64) {
        let (owed, asked) = self.owed;
        if owed > 0 {
            self.owed.0 = owed - 1;
            let sent = sent.checked_add(EPOCH);
            let ahead = sent.and_then(|sent| asked.as_microsecond().checked_sub(sent));
            self.ahead = self.ahead.into_iter().chain(ahead).min();
        }
    }

    /// Asks whether there is more, and waits for the answer, or for what comes before it.
    pub(crate) fn question(
        &mut self,
        clock: &dyn Clock,
        take: &mut dyn FnMut(News),
    ) -> Result<Answered> {
        let (asked, began) = (clock.wall(), clock.monotonic());
        self.owed = (self.owed.0 + 1, asked);
        self.tell(true, began)?;
        while self.owed.0 > 0 {
            match self.take(Duration::from_millis(200), clock)? {
                Some(News::Alive) => {}
                Some(news) => {
                    take(news);
                    return Ok(Answered { asked, news: true });
                }
                None if clock.monotonic().saturating_sub(began) > ANSWER => {
                    return Err(PgError::lost("the server does not answer any more"));
                }
                None => {}
            }
        }
        Ok(Answered { asked, news: false })
    }
}

/// What came of a question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// When it was asked.
    pub(crate) asked: Timestamp,
    /// Something else came before the answer.
    pub(crate) news: bool,
}
