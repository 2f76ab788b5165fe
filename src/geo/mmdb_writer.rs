//! Writes small databases in MaxMind's format, for tests: City, Country, flat and ASN shapes, all three node sizes, IPv4 alone or inside
//! IPv6 with the usual aliases.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use portolan_core::geo::{Place, embed::Embedding};

/// What records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    City,
    Country,
    /// `country_code` and `continent_code` as plain text at the top.
    Flat,
    /// Numbers of autonomous systems, no places.
    Asn,
}

/// How the file is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    /// 4 or 6.
    pub(super) ip_version: u16,
    /// 24, 28 or 32.
    pub(super) record_size: u16,
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Data(usize),
}

/// The bytes of a database with these rows. A longer network must come after the shorter one around it.
pub(super) fn write(layout: Layout, rows: &[(IpNet, Place)]) -> Vec<u8> {
    let width = if layout.ip_version == 4 { 32 } else { 128 };
    let mut nodes = vec![[Child::Nothing; 2]];
    let mut data = Vec::new();
    // Every record points at this one, as real files share their names.
    let names = offset(&data);
    map(&mut data, 1);
    text(&mut data, "en");
    text(&mut data, "a place");
    let mut written = BTreeMap::new();
    for &(network, place) in rows {
        let at = *written.entry(place).or_insert_with(|| {
            let at = offset(&data);
            record(&mut data, layout.shape, place, names);
            at
        });
        let (bits, prefix) = match network {
            IpNet::V4(net) => (u128::from(net.addr().to_bits()), usize::from(net.prefix_len()) + width - 32),
            IpNet::V6(net) => (net.addr().to_bits(), usize::from(net.prefix_len())),
        };
        put(&mut nodes, width, bits, prefix, Child::Data(at as usize));
    }
    if layout.ip_version == 6 {
        let mut root = 0;
        for _ in 0..96 {
            root = node_below(&mut nodes, root, 0);
        }
        for form in [Embedding::Mapped, Embedding::SixToFour, Embedding::Teredo] {
            let (network, prefix) = form.network();
            put(&mut nodes, width, network.to_bits(), usize::from(prefix), Child::Node(root));
        }
    }
    let mut file = tree(&nodes, layout.record_size);
    file.extend([0; 16]);
    file.extend(&data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut file, layout, nodes.len());
    file
}

fn node_below(nodes: &mut Vec<[Child; 2]>, node: usize, side: usize) -> usize {
    match nodes[node][side] {
        Child::Node(below) => below,
        outer => {
            nodes.push([outer; 2]);
            let new = nodes.len() - 1;
            nodes[node][side] = Child::Node(new);
            new
        }
    }
}

fn put(nodes: &mut Vec<[Child; 2]>, width: usize, bits: u128, prefix: usize, child: Child) {
    let side = |depth: usize| usize::from(bits >> (width - 1 - depth) & 1 == 1);
    let mut node = 0;
    for depth in 0..prefix - 1 {
        node = node_below(nodes, node, side(depth));
    }
    nodes[node][side(prefix - 1)] = child;
}

fn tree(nodes: &[[Child; 2]], record_size: u16) -> Vec<u8> {
    let value = |child: Child| -> u32 {
        let value = match child {
            Child::Nothing => nodes.len(),
            Child::Node(index) => index,
            Child::Data(at) => nodes.len() + 16 + at,
        };
        u32::try_from(value).unwrap()
    };
    let mut bytes = Vec::new();
    for &[left, right] in nodes {
        let (left, right) = (value(left).to_be_bytes(), value(right).to_be_bytes());
        match record_size {
            24 => bytes.extend([&left[1..], &right[1..]].concat()),
            28 => bytes.extend([&left[1..], &[left[0] << 4 | right[0]], &right[1..]].concat()),
            _ => bytes.extend([left, right].concat()),
        }
    }
    bytes
}

fn record(data: &mut Vec<u8>, shape: Shape, place: Place, names: u32) {
    let coded = |data: &mut Vec<u8>, key: &str, inner: &str, code: &str| {
        text(data, key);
        map(data, 2);
        text(data, inner);
        text(data, code);
        text(data, "names");
        pointer(data, names);
    };
    let n_parts = u8::from(place.continent.is_some()) + u8::from(place.country.is_some());
    match shape {
        Shape::Asn => {
            map(data, 1);
            text(data, "autonomous_system_number");
            number(data, 6, 64_496);
        }
        Shape::Flat => {
            map(data, n_parts);
            for (key, code) in [("continent_code", place.continent), ("country_code", place.country)] {
                if let Some(code) = code {
                    text(data, key);
                    text(data, code.as_str());
                }
            }
        }
        Shape::City | Shape::Country => {
            let location = place.location.filter(|_| shape == Shape::City);
            // What is not a place must not be taken for one.
            map(data, n_parts + u8::from(location.is_some()) + 2);
            coded(data, "registered_country", "iso_code", "AQ");
            if let Some(code) = place.continent {
                coded(data, "continent", "code", code.as_str());
            }
            if let Some(code) = place.country {
                coded(data, "country", "iso_code", code.as_str());
            }
            if let Some((latitude, longitude)) = location.map(|location| location.degrees()) {
                text(data, "location");
                map(data, 3);
                text(data, "accuracy_radius");
                number(data, 5, 20);
                text(data, "latitude");
                double(data, latitude);
                text(data, "longitude");
                double(data, longitude);
            }
            text(data, "subdivisions");
            list(data, 1);
            map(data, 1);
            text(data, "iso_code");
            text(data, "XX");
        }
    }
}

fn metadata(file: &mut Vec<u8>, layout: Layout, nodes: usize) {
    map(file, 9);
    let kind = match layout.shape {
        Shape::City => "Test-City",
        Shape::Country => "Test-Country",
        Shape::Flat => "Test-Flat",
        Shape::Asn => "Test-ASN",
    };
    for (key, type_number, value) in [
        ("binary_format_major_version", 5, 2),
        ("binary_format_minor_version", 5, 0),
        ("ip_version", 5, u32::from(layout.ip_version)),
        ("record_size", 5, u32::from(layout.record_size)),
        ("node_count", 6, u32::try_from(nodes).unwrap()),
        ("build_epoch", 9, 1_795_046_400),
    ] {
        text(file, key);
        number(file, type_number, value);
    }
    text(file, "database_type");
    text(file, kind);
    text(file, "languages");
    list(file, 1);
    text(file, "en");
    text(file, "description");
    map(file, 1);
    text(file, "en");
    text(file, "for tests");
}

fn offset(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap()
}

fn map(data: &mut Vec<u8>, n: u8) {
    data.push(7 << 5 | n);
}

fn list(data: &mut Vec<u8>, n: u8) {
    data.extend([n, 11 - 7]);
}

fn text(data: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    if length < 29 {
        data.push(2 << 5 | length)
    } else {
        data.extend([2 << 5 | 29, length - 29])
    }
    data.extend(text.as_bytes());
}

fn double(data: &mut Vec<u8>, value: f64) {
    data.push(3 << 5 | 8);
    data.extend(value.to_be_bytes());
}

/// Types 5 (16 bits), 6 (32 bits) and 9 (64 bits), with four bytes or two.
fn number(data: &mut Vec<u8>, type_number: u8, value: u32) {
    match type_number {
        5 => {
            data.push(5 << 5 | 2);
            data.extend(u16::try_from(value).unwrap().to_be_bytes());
        }
        6 => {
            data.push(6 << 5 | 4);
            data.extend(value.to_be_bytes());
        }
        _ => {
            data.extend([4, type_number - 7]);
            data.extend(value.to_be_bytes());
        }
    }
}

fn pointer(data: &mut Vec<u8>, target: u32) {
    data.push(1 << 5 | 3 << 3);
    data.extend(target.to_be_bytes());
}

/// A tree of `depth` levels in which both sides of every node lead to the next, so that it holds 2^depth paths.
pub(super) fn bomb(depth: u32, ends_in: impl Fn(u32) -> u32) -> Vec<u8> {
    let mut file = Vec::new();
    for node in 0..depth {
        let next = if node + 1 == depth { ends_in(depth) } else { node + 1 };
        file.extend([next.to_be_bytes(), next.to_be_bytes()].concat());
    }
    file.extend([0; 16]);
    map(&mut file, 1);
    text(&mut file, "country");
    text(&mut file, "IE");
    file.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut file, Layout { shape: Shape::City, ip_version: 6, record_size: 32 }, depth as usize);
    file
}

/// The address that an IPv4 address has inside a range.
pub(super) fn embed(address: IpAddr, form: Embedding) -> IpAddr {
    let IpAddr::V4(address) = address else { return address };
    let bits = if form == Embedding::Teredo { !address.to_bits() } else { address.to_bits() };
    Ipv6Addr::from_bits(form.network().0.to_bits() | u128::from(bits) << (96 - form.first_bit())).into()
}
