//! Great-circle distance, in whole kilometres.
//!
//! On a sphere, not the ellipsoid: the error is below 0.6 %, far less than what any geo database knows of its clients. The result is
//! rounded to kilometres so that nodes whose mathematical libraries differ in the last bit still agree.

use crate::model::units::Location;

/// The mean radius of the earth in kilometres (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A location as a unit vector: made once per place, after which a distance costs one square root and one arc sine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point([f64; 3]);

impl Point {
    /// The vector that points at `location`.
    #[must_use]
    pub fn new(location: Location) -> Self {
        let (latitude, longitude) = location.degrees();
        let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
        Self([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()])
    }

    /// Kilometres to `other` along the surface, 0 to 20 015. The same in both directions.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and at most half the circumference")]
    pub fn kilometres(self, other: Self) -> u32 {
        let square = |i: usize| (self.0[i] - other.0[i]) * (self.0[i] - other.0[i]);
        let half_chord = (square(0) + square(1) + square(2)).sqrt() / 2.0;
        (2.0 * EARTH_RADIUS_KM * half_chord.min(1.0).asin()).round() as u32
    }
}

/// Kilometres between two locations along the surface, 0 to 20 015.
#[must_use]
pub fn kilometres(a: Location, b: Location) -> u32 {
    Point::new(a).kilometres(Point::new(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Location {
        Location::from_degrees(latitude, longitude).unwrap()
    }

    #[test]
    fn known_distances() {
        assert_eq!(kilometres(at(0.0, 0.0), at(0.0, 180.0)), 20_015);
        assert_eq!(kilometres(at(90.0, 0.0), at(-90.0, 77.0)), 20_015);
        assert_eq!(kilometres(at(53.3, -6.3), at(53.3, -6.3)), 0);
        assert_eq!(kilometres(at(10.0, 179.9), at(10.0, -179.9)), 22);
        // Dublin to Ashburn, and Singapore to Dublin, against the haversine formula worked out apart from this code.
        assert_eq!(kilometres(at(53.3, -6.3), at(38.9, -77.4)), 5_465);
        assert_eq!(kilometres(at(1.35, 103.8), at(53.3, -6.3)), 11_202);
    }

    proptest! {
        #[test]
        fn symmetric_bounded_and_equal_to_haversine(a in (-9_000_i16..=9_000, -18_000_i16..=18_000), b in (-9_000_i16..=9_000, -18_000_i16..=18_000)) {
            let (a, b) = (Location { latitude: a.0, longitude: a.1 }, Location { latitude: b.0, longitude: b.1 });
            let km = kilometres(a, b);
            prop_assert_eq!(km, kilometres(b, a));
            prop_assert!(km <= 20_015);
            let ((lat_a, lon_a), (lat_b, lon_b)) = (a.degrees(), b.degrees());
            let half = |x: f64, y: f64| ((y - x).to_radians() / 2.0).sin().powi(2);
            let h = half(lat_a, lat_b) + lat_a.to_radians().cos() * lat_b.to_radians().cos() * half(lon_a, lon_b);
            let haversine = 2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin();
            prop_assert!((haversine - f64::from(km)).abs() <= 0.51, "{} and {}", haversine, km);
        }
    }
}
