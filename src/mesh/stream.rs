//! One link between two nodes, from either side: pings to know the way's length and that it stands, and frames as they come.

use std::{sync::Arc, time::Duration};

use portolan_core::{
    cluster::limits::OBJECT_MAX,
    failover::holding::Statement,
    health::{
        book::Beat,
        vantage::{CheckKey, Heard, NAME_OCTETS_MAX, Report},
    },
    model::{ids::Label, time::Timestamp},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::{
    holdings,
    identity::Passport,
    links::LinkId,
    parcel::{BEATS_PER_FRAME_MAX, frame},
    patience::Patience,
    proto::{self, Hello, ObserveFrame, Ping, Role, observe_frame::Frame},
    way::Way,
    wire,
};
use crate::net::clock::WallClock;

/// Between pings, which measure the way. With the news, twice a second on every link, they are signs of life.
pub(super) const PING_EVERY: Duration = Duration::from_secs(1);
/// Observers that a hello may name: as many as are remembered.
const HEARD_MAX: usize = portolan_core::health::vantage::OBSERVERS_MAX;
/// The longest version of a program.
const VERSION_OCTETS_MAX: usize = 64;

/// What the other side of a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarRole {
    /// Votes, and relays what its observers say.
    Voter,
    /// Speaks for itself only.
    Observer,
}

/// The other side of a link, as it introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Far {
    /// Who it is.
    pub passport: Passport,
    /// What it is.
    pub role: FarRole,
    /// Which start of it.
    pub incarnation: u64,
    /// Of the program, for people.
    pub version: String,
    /// What it has heard of observers, so that it is not told again.
    pub heard: Vec<Heard>,
    /// The revision of the plan that it runs; `None`: none.
    pub plan_revision: Option<u64>,
}

/// What happens on links.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link stands. Nothing is sent to it before [`Mesh::activate`](super::Mesh::activate), except by name.
    Up {
        /// Which.
        link: LinkId,
        /// The other side.
        far: Box<Far>,
    },
    /// A report came.
    Report {
        /// On which link.
        link: LinkId,
        /// What it says.
        report: Report,
        /// The link's last round trip.
        round_trip: Duration,
    },
    /// The other side lacks something of an observer, which is to be said again as a whole.
    Need {
        /// On which link.
        link: LinkId,
        /// Of whom.
        observer: Label,
    },
    /// A check is to be probed at once.
    Confirm {
        /// On which link.
        link: LinkId,
        /// Which check.
        check: CheckKey,
    },
    /// Heartbeats were pushed to another node; of each the oldest push first.
    Beats {
        /// On which link.
        link: LinkId,
        /// Names of checks, and the pushes.
        beats: Vec<(String, Beat)>,
    },
    /// What agents state, and how long ago each did, the way to the other side included.
    Holdings {
        /// On which link.
        link: LinkId,
        /// Statements, and their ages when the other side sent this.
        stated: Vec<(Statement, Duration)>,
        /// It was sent after this moment.
        sent_after: Instant,
    },
    /// An order that holds without a majority.
    Local {
        /// On which link.
        link: LinkId,
        /// As the daemon writes it.
        octets: bytes::Bytes,
    },
    /// How far the other side's wall clock is ahead of this node's, in milliseconds, as far as the way there lets tell.
    Clock {
        /// Whose.
        node: Label,
        /// Negative: behind.
        ahead_ms: i64,
    },
    /// A link is gone.
    Down {
        /// Which.
        link: LinkId,
        /// To whom.
        node: Label,
        /// Why, for people.
        why: String,
    },
}

/// What a node says first.
pub(super) fn hello(far: &Far) -> ObserveFrame {
    let heard = far.heard.iter().map(|heard| proto::Heard {
        observer: heard.observer.to_string(),
        incarnation: heard.incarnation,
        complete: heard.complete,
    });
    frame(Frame::Hello(Box::new(Hello {
        caller: Some(far.passport.caller()),
        incarnation: far.incarnation,
        role: match far.role {
            FarRole::Voter => Role::Voter,
            FarRole::Observer => Role::Observer,
        }
        .into(),
        version: far.version.clone(),
        heard: heard.collect(),
        plan_revision: far.plan_revision.unwrap_or(0),
    })))
}

/// Reads what the other side says first, its passport apart.
pub(super) fn read_hello(passport: Passport, hello: Hello) -> Result<Far, String> {
    let role = match hello.role() {
        Role::Voter | Role::Witness => FarRole::Voter,
        Role::Observer => FarRole::Observer,
        Role::Unspecified => return Err("its hello names a role that this version does not know".to_owned()),
    };
    if hello.heard.len() > HEARD_MAX || hello.version.len() > VERSION_OCTETS_MAX {
        return Err("its hello is longer than a node's".to_owned());
    }
    let heard = hello.heard.into_iter().filter(|heard| heard.observer.len() <= NAME_OCTETS_MAX).map(|heard| Heard {
        observer: Label::new(&heard.observer),
        incarnation: heard.incarnation,
        complete: heard.complete,
    });
    Ok(Far {
        passport,
        role,
        incarnation: hello.incarnation,
        version: hello.version,
        heard: heard.collect(),
        plan_revision: Some(hello.plan_revision).filter(|revision| *revision > 0),
    })
}

/// One side of a link that stands.
pub(super) struct Side {
    pub(super) link: LinkId,
    pub(super) far: Far,
    pub(super) outbound: mpsc::Sender<ObserveFrame>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) clock: Arc<dyn WallClock>,
    pub(super) patience: Patience,
    /// The other side sent nothing but its hello before.
    pub(super) since: Instant,
    pub(super) close: CancellationToken,
}

impl Side {
    /// Runs until the link ends; says why.
    pub(super) async fn run(self, mut inbound: Streaming<ObserveFrame>) -> String {
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut way, mut heard_at) = (Way::new(self.since, self.patience.unknown()), Instant::now());
        loop {
            let said = tokio::select! {
                () = self.close.cancelled() => return "it did not take what it was sent, another link took its place, or this node stops".to_owned(),
                _ = pings.tick() => {
                    if heard_at.elapsed() > self.patience.link() {
                        return format!("silent for {:?}", self.patience.link());
                    }
                    let number = way.ask();
                    if self.say(Frame::Ping(Ping { number, wall_ms: self.clock.now().0 })).is_err() {
                        return "it does not take what it is sent".to_owned();
                    }
                    continue;
                }
                frame = inbound.message() => match frame {
                    Ok(Some(ObserveFrame { frame: Some(said) })) => said,
                    // Of a newer version: it is not for this one.
                    Ok(Some(ObserveFrame { frame: None })) => continue,
                    Ok(None) => return "closed by the other side".to_owned(),
                    Err(status) => return super::dial::failure(&status).to_string(),
                },
            };
            heard_at = Instant::now();
            if let Frame::Pong(pong) = &said
                && let Some(round_trip) = way.answered(pong.number)
            {
                let halfway = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
                let ahead_ms = pong.wall_ms.saturating_add(halfway).saturating_sub(self.clock.now().0);
                self.tell(Event::Clock { node: self.far.passport.node.clone(), ahead_ms }).await;
                continue;
            }
            if let Err(why) = self.take(said, &way).await {
                return why;
            }
        }
    }

    fn say(&self, said: Frame) -> Result<(), ()> {
        self.outbound.try_send(frame(said)).map_err(drop)
    }

    async fn take(&self, said: Frame, way: &Way) -> Result<(), String> {
        let link = self.link;
        match said {
            Frame::Hello(_) | Frame::Pong(_) => {}
            Frame::Ping(Ping { number, .. }) => {
                return self
                    .say(Frame::Pong(Ping { number, wall_ms: self.clock.now().0 }))
                    .map_err(|()| "it does not take what it is sent".to_owned());
            }
            Frame::News(octets) => {
                for report in wire::read_news(octets).map_err(|error| error.to_string())? {
                    let (node, region) = (&self.far.passport.node, &self.far.passport.region);
                    if self.far.role == FarRole::Observer && (report.observer != *node || report.region != *region) {
                        return Err(format!(
                            "observer `{node}` speaks as `{}` in {}; it may speak for itself only",
                            report.observer, report.region
                        ));
                    }
                    self.tell(Event::Report { link, report, round_trip: way.round_trip() }).await;
                }
            }
            Frame::Need(observer) if observer.len() <= NAME_OCTETS_MAX => {
                self.tell(Event::Need { link, observer: Label::new(&observer) }).await;
            }
            Frame::Need(_) => {}
            Frame::Confirm(key) => {
                let check = wire::read_key(&key).map_err(|error| error.to_string())?;
                self.tell(Event::Confirm { link, check }).await;
            }
            Frame::Beats(proto::Beats { beats }) => {
                let heard = beats.into_iter().take(BEATS_PER_FRAME_MAX).filter(|beat| beat.name.len() <= OBJECT_MAX);
                let beats = heard.map(|beat| (beat.name, Beat { at: Timestamp(beat.at_ms), ok: beat.ok })).collect();
                self.tell(Event::Beats { link, beats }).await;
            }
            Frame::Holdings(stated) => {
                self.tell(Event::Holdings { link, stated: holdings::read(stated), sent_after: way.sent_after() }).await;
            }
            Frame::Local(octets) => self.tell(Event::Local { link, octets }).await,
        }
        Ok(())
    }

    /// Waits for room: the other side then waits, too. Nobody to tell: the daemon stops.
    async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }
}
