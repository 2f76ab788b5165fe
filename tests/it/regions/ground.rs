//! What a world stands on, and where everything in it is reached.
//!
//! - Network namespaces, where the system lets them be made: nodes are processes, the router between the regions carries packets.
//! - Else loopback: nodes are daemons of this process, each on a runtime of its own that is thrown away when the node is killed, and relays carry
//!   their connections. DNS between regions goes straight, because relays carry no datagrams; questions over a line that is cut are excused and
//!   answered all the same. What relays cannot do is told in `portolan::demo::wan`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::OnceLock,
};

use super::place::{self, HOSTS, Place, REGIONS};
use crate::daemon::site::own_address;

/// For people who want to see the other one.
const FORCED: &str = "PORTOLAN_REGIONS";

/// See above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Namespaces,
    Loopback,
}

impl Ground {
    /// What can be had here; tried once.
    pub(super) fn here() -> Self {
        static HERE: OnceLock<Ground> = OnceLock::new();
        *HERE.get_or_init(|| {
            #[expect(clippy::disallowed_methods, reason = "how a person says which ground")]
            if std::env::var(FORCED).is_ok_and(|forced| forced == "loopback") {
                return Self::Loopback;
            }
            place::sweep();
            match Place::make(usize::MAX, 0) {
                Ok(_) => Self::Namespaces,
                Err(error) => {
                    eprintln!("regions: no network namespaces here ({error}); daemons of this process and relays on loopback instead");
                    Self::Loopback
                }
            }
        })
    }

    /// For people.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Namespaces => "real processes in network namespaces",
            Self::Loopback => "daemons of one process over relays on loopback",
        }
    }
}

/// Ports of everything; addresses differ.
#[derive(Clone, Copy, Debug)]
struct Ports {
    dns: u16,
    http: u16,
    endpoint: u16,
}

/// The addresses of a world.
#[derive(Clone, Debug)]
pub(super) struct Atlas {
    hosts: [[Ipv4Addr; HOSTS.len()]; REGIONS],
    ports: Ports,
}

impl Atlas {
    pub(super) fn of(ground: Ground) -> Self {
        match ground {
            Ground::Namespaces => {
                let hosts = std::array::from_fn(|region| HOSTS.map(|host| place::host(region, host)));
                Self { hosts, ports: Ports { dns: 53, http: 8080, endpoint: 80 } }
            }
            // Addresses that nobody else uses, so that ports need not be free ones; and above those that only root may take.
            Ground::Loopback => Self {
                hosts: std::array::from_fn(|_| HOSTS.map(|_| own_address())),
                ports: Ports { dns: 5353, http: 8080, endpoint: 8081 },
            },
        }
    }

    fn host(&self, region: usize, host: u8) -> Ipv4Addr {
        self.hosts[region][HOSTS.iter().position(|known| *known == host).expect("a host of a region")]
    }

    /// Where a node is.
    pub(super) fn node(&self, region: usize, host: u8) -> Addresses {
        let address = self.host(region, host);
        Addresses {
            dns: (address, self.ports.dns).into(),
            http: (address, self.ports.http).into(),
            control: (address, 8443).into(),
            peer: (address, 8444).into(),
        }
    }

    /// Where the endpoint of a region stands.
    pub(super) fn endpoint(&self, region: usize) -> SocketAddr {
        (self.host(region, place::ENDPOINT), self.ports.endpoint).into()
    }

    /// Where the clients of a region ask from.
    pub(super) fn client(&self, region: usize) -> Ipv4Addr {
        self.host(region, place::CLIENT)
    }
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) dns: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) peer: SocketAddr,
}
