//! One record of a database: takes the place out of it, and counts everything else.
//!
//! Not derived with serde on purpose: a derived reader skips what it does not know without counting it, so a hostile file whose many
//! records share one huge value would keep a node busy for hours.

use std::fmt;

use bytes::Bytes;
use maxminddb::LookupResult;
use portolan_core::{
    geo::{Origin, Place},
    model::units::{Code, Location},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

/// The deepest nesting inside a record; known databases have four levels.
const DEPTH_MAX: u8 = 16;

/// So many bytes of text cost as much as one value.
const BYTES_PER_VALUE: usize = 64;

/// The place that a record names, and how many values had to be looked at to find it. `None` for the place: it names none.
pub(super) fn decode(found: &LookupResult<'_, Bytes>) -> Result<(Option<Place>, u64), String> {
    let Some(record) = found.decode::<Record>().map_err(|error| error.to_string())? else {
        return Ok((None, 1));
    };
    let location = match (record.latitude, record.longitude) {
        // Some makers write zero for "unknown". Nobody lives in that part of the Atlantic.
        (Some(latitude), Some(longitude)) if latitude != 0.0 || longitude != 0.0 => {
            let location = Location::from_degrees(latitude, longitude);
            Some(location.ok_or_else(|| format!("a record has the location {latitude}, {longitude}, which is not on the globe"))?)
        }
        _ => None,
    };
    let place = Place { continent: record.continent, country: record.country, location, origin: Origin::Database };
    Ok((place.is_somewhere().then_some(place), record.values))
}

/// What was met in a record so far.
#[derive(Debug, Default)]
struct Record {
    continent: Option<Code>,
    country: Option<Code>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    values: u64,
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut record = Self::default();
        Node { record: &mut record, meaning: Meaning::Record, depth: 0 }.deserialize(deserializer)?;
        Ok(record)
    }
}

/// What a value stands for, by the keys that lead to it.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Record,
    Continent,
    Country,
    Location,
    ContinentCode,
    CountryCode,
    Latitude,
    Longitude,
    Nothing,
}

impl Meaning {
    fn child(self, key: &str) -> Self {
        match (self, key) {
            (Self::Record, "continent") => Self::Continent,
            (Self::Record, "country") => Self::Country,
            (Self::Record, "location") => Self::Location,
            // Makers of flat databases.
            (Self::Record, "continent_code") | (Self::Continent, "code") => Self::ContinentCode,
            (Self::Record, "country_code") | (Self::Country, "iso_code") => Self::CountryCode,
            (Self::Location, "latitude") => Self::Latitude,
            (Self::Location, "longitude") => Self::Longitude,
            _ => Self::Nothing,
        }
    }
}

/// A value about to be read.
struct Node<'r> {
    record: &'r mut Record,
    meaning: Meaning,
    depth: u8,
}

impl Node<'_> {
    fn inner<E: Error>(&mut self, meaning: Meaning) -> Result<Node<'_>, E> {
        if self.depth >= DEPTH_MAX {
            return Err(E::custom(format!("a record is nested more than {DEPTH_MAX} deep")));
        }
        Ok(Node { record: self.record, meaning, depth: self.depth + 1 })
    }

    fn charge(&mut self, bytes: usize) {
        self.record.values += 1 + u64::try_from(bytes / BYTES_PER_VALUE).unwrap_or(u64::MAX >> 1);
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a geo database")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.charge(0);
        while let Some(key) = map.next_key::<&str>()? {
            self.charge(key.len());
            let meaning = self.meaning.child(key);
            map.next_value_seed(self.inner(meaning)?)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.charge(0);
        while list.next_element_seed(self.inner(Meaning::Nothing)?)?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<(), E> {
        self.charge(text.len());
        // Text that is not a code (`-`, empty, `ZZ`) is a maker's way to say "unknown".
        match self.meaning {
            Meaning::ContinentCode | Meaning::Continent => self.record.continent = Code::new(text),
            Meaning::CountryCode | Meaning::Country => self.record.country = Code::new(text).filter(|code| code.as_str() != "ZZ"),
            _ => {}
        }
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.charge(0);
        match self.meaning {
            Meaning::Latitude => self.record.latitude = Some(value),
            Meaning::Longitude => self.record.longitude = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn visit_bytes<E: Error>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.charge(bytes.len());
        Ok(())
    }

    fn visit_bool<E: Error>(mut self, _: bool) -> Result<(), E> {
        self.charge(0);
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, _: i64) -> Result<(), E> {
        self.charge(0);
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, _: u64) -> Result<(), E> {
        self.charge(0);
        Ok(())
    }

    fn visit_u128<E: Error>(mut self, _: u128) -> Result<(), E> {
        self.charge(0);
        Ok(())
    }
}
