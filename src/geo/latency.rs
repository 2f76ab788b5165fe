//! The text form of a latency table.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use portolan_core::{
    geo::{LatencyKey, LatencyTable, builtin, embed::Embedding},
    model::{ids::Label, units::Code},
};

/// The longest round-trip time that makes sense, in milliseconds: beyond a minute somebody mistook the unit.
pub const MILLISECONDS_MAX: u32 = 60_000;

/// After that many wrong lines the rest is not looked at: the file is something else altogether.
pub const PROBLEMS_MAX: usize = 100;

/// A wrong line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Reads lines of the form `clients,region,milliseconds`; `#` begins a comment, empty lines are skipped, spaces do not matter.
///
/// *clients* is a network (`192.0.2.0/24`, or a single address), a country (`IE`) or a continent (`EU`). The letters AF, AS, NA and SA name
/// both; alone they mean the continent, `country:SA` is Saudi Arabia.
///
/// # Errors
/// Every wrong line, in their order, but no more than [`PROBLEMS_MAX`]. Nothing of the text is used then.
pub fn parse_latency(text: &str) -> Result<LatencyTable, Vec<Problem>> {
    let mut table = LatencyTable::default();
    let mut problems = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        if let Err(text) = parse_line(content, &mut table) {
            problems.push(Problem { line: i + 1, text });
            if problems.len() >= PROBLEMS_MAX {
                break;
            }
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

fn parse_line(content: &str, table: &mut LatencyTable) -> Result<(), String> {
    let fields: Vec<&str> = content.split(',').map(str::trim).collect();
    let &[clients, region, milliseconds] = fields.as_slice() else {
        return Err(format!("{} fields instead of three; write `clients,region,milliseconds`", fields.len()));
    };
    let key = parse_clients(clients)?;
    if region.is_empty() {
        return Err("the region is missing".to_owned());
    }
    let in_range = milliseconds.parse().ok().filter(|&ms: &u32| ms <= MILLISECONDS_MAX);
    let ms = in_range.ok_or_else(|| format!("`{milliseconds}` is not a whole number of milliseconds from 0 to {MILLISECONDS_MAX}"))?;
    table.insert(key, Label::new(region), ms).map_err(|refused| refused.to_string())
}

fn parse_clients(text: &str) -> Result<LatencyKey, String> {
    let known_country = |code: &str| Code::new(code).filter(|&code| builtin::country(code).is_some());
    let known_continent = |code: &str| Code::new(code).filter(|&code| builtin::is_continent(code));
    if let Some(code) = text.strip_prefix("country:") {
        return known_country(code).map(LatencyKey::Country).ok_or_else(|| format!("`{code}` is not a country of ISO 3166"));
    }
    if let Some(code) = text.strip_prefix("continent:") {
        return known_continent(code).map(LatencyKey::Continent).ok_or_else(|| format!("`{code}` is none of AF AN AS EU NA OC SA"));
    }
    if let Some(code) = known_continent(text) {
        return Ok(LatencyKey::Continent(code));
    }
    if let Some(code) = known_country(text) {
        return Ok(LatencyKey::Country(code));
    }
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| format!("`{text}` is neither a network nor the code of a country or continent"))?;
    if network != network.trunc() {
        return Err(format!("`{text}` has bits beyond its prefix; write `{}`", network.trunc()));
    }
    if let IpNet::V6(inside) = network
        && Embedding::of(inside.addr()).is_some_and(|form| form.network().1 <= inside.prefix_len())
    {
        return Err(format!("`{text}` never matches: such clients are known by the IPv4 address inside theirs; write the IPv4 network"));
    }
    Ok(LatencyKey::Network(network))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_client_is_read() {
        let text = "# measured in November\n\n192.0.2.0/24, eu-west-1, 12 # office\n2001:db8::/32,eu-west-1,13\nIE,eu-west-1,14\nEU,eu-west-1,15\n\
                    NA,eu-west-1,90\ncountry:NA,eu-west-1,160\n198.51.100.7,eu-west-1,0\n";
        let mut expected = LatencyTable::default();
        let code = |text: &str| Code::new(text).unwrap();
        let rows = [
            (LatencyKey::Network("192.0.2.0/24".parse().unwrap()), 12),
            (LatencyKey::Network("2001:db8::/32".parse().unwrap()), 13),
            (LatencyKey::Country(code("IE")), 14),
            (LatencyKey::Continent(code("EU")), 15),
            (LatencyKey::Continent(code("NA")), 90),
            (LatencyKey::Country(code("NA")), 160),
            (LatencyKey::Network("198.51.100.7/32".parse().unwrap()), 0),
        ];
        for (key, ms) in rows {
            expected.insert(key, "eu-west-1".into(), ms).unwrap();
        }
        assert_eq!(parse_latency(text), Ok(expected));
    }

    #[test]
    fn every_wrong_line_is_told() {
        let text = "IE,eu-west-1\nXX,eu-west-1,1\n10.0.0.1/8,a,1\n10.0.0.0/8,,1\nIE,a,-1\nIE,a,60001\nIE,a,1\nIE,a,2\n2002:808::/32,a,1\n\
                    country:EU,a,1\ncontinent:IE,a,1\n";
        let told: Vec<String> = parse_latency(text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 1: 2 fields instead of three; write `clients,region,milliseconds`",
                "line 2: `XX` is neither a network nor the code of a country or continent",
                "line 3: `10.0.0.1/8` has bits beyond its prefix; write `10.0.0.0/8`",
                "line 4: the region is missing",
                "line 5: `-1` is not a whole number of milliseconds from 0 to 60000",
                "line 6: `60001` is not a whole number of milliseconds from 0 to 60000",
                "line 8: region `a` has a figure for these clients already; keep one of the two",
                "line 9: `2002:808::/32` never matches: such clients are known by the IPv4 address inside theirs; write the IPv4 network",
                "line 10: `EU` is not a country of ISO 3166",
                "line 11: `IE` is none of AF AN AS EU NA OC SA",
            ]
        );
    }

    #[test]
    fn a_file_of_another_kind_does_not_flood() {
        assert_eq!(parse_latency(&"\u{fffd}PK\n".repeat(1_000)).unwrap_err().len(), PROBLEMS_MAX);
    }
}
