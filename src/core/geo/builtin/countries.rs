//! Countries and continents: where their people are, roughly.
//!
//! The codes are ISO 3166-1 alpha-2, with `XK` for Kosovo as geo databases write it; the continents are those of the GeoNames gazetteer,
//! which those databases use. A centre is a rounded point near the middle of the *inhabited* part, because it stands for clients: that of
//! Canada lies in Ontario and not on Baffin Island. Good to some hundred kilometres, which is what a country alone can tell.

use crate::model::units::{Code, Location};

/// What is known of a country.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country {
    /// Where it counts.
    pub continent: Code,
    /// A point near the middle of its inhabited part.
    pub centre: Location,
}

/// The country with this code; `None` for codes that ISO has not assigned.
#[must_use]
pub fn country(code: Code) -> Option<Country> {
    let row = COUNTRIES.binary_search_by(|row| row.0.as_slice().cmp(code.as_str().as_bytes())).ok()?;
    let (_, continent, latitude, longitude) = COUNTRIES[row];
    Some(Country { continent: to_code(continent), centre: Location { latitude, longitude } })
}

/// The middle of a continent's inhabited part; `None` for anything but AF AN AS EU NA OC SA.
#[must_use]
pub fn continent_centre(code: Code) -> Option<Location> {
    let row = CONTINENTS.iter().find(|row| row.0 == code.as_str().as_bytes())?;
    Some(Location { latitude: row.1, longitude: row.2 })
}

/// Whether the code names a continent. Four of them name a country too: AF, AS, NA and SA.
#[must_use]
pub fn is_continent(code: Code) -> bool {
    continent_centre(code).is_some()
}

/// From two letters of the tables.
pub(super) fn to_code(letters: [u8; 2]) -> Code {
    std::str::from_utf8(&letters).ok().and_then(Code::new).expect("invariant: the tables hold letters only")
}

/// (code, latitude and longitude in hundredths of a degree).
const CONTINENTS: [([u8; 2], i16, i16); 7] = [
    (*b"AF", 600, 2_000),
    (*b"AN", -8_000, 0),
    (*b"AS", 2_700, 10_000),
    (*b"EU", 5_000, 1_300),
    (*b"NA", 3_700, -9_300),
    (*b"OC", -3_100, 15_000),
    (*b"SA", -1_600, -5_700),
];

/// (code, continent, latitude and longitude of the centre in hundredths of a degree), ascending by code.
#[rustfmt::skip]
const COUNTRIES: [([u8; 2], [u8; 2], i16, i16); 250] = [
    (*b"AD", *b"EU", 4250, 150),     (*b"AE", *b"AS", 2480, 5500),    (*b"AF", *b"AS", 3450, 6850),    (*b"AG", *b"NA", 1710, -6180),
    (*b"AI", *b"NA", 1820, -6310),   (*b"AL", *b"EU", 4120, 1990),    (*b"AM", *b"AS", 4020, 4460),    (*b"AO", *b"AF", -1000, 1450),
    (*b"AQ", *b"AN", -8000, 0),      (*b"AR", *b"SA", -3400, -6100),  (*b"AS", *b"OC", -1430, -17070), (*b"AT", *b"EU", 4790, 1500),
    (*b"AU", *b"OC", -3350, 14700),  (*b"AW", *b"NA", 1250, -7000),   (*b"AX", *b"EU", 6020, 2000),    (*b"AZ", *b"AS", 4040, 4880),
    (*b"BA", *b"EU", 4420, 1780),    (*b"BB", *b"NA", 1320, -5950),   (*b"BD", *b"AS", 2380, 9020),    (*b"BE", *b"EU", 5080, 440),
    (*b"BF", *b"AF", 1220, -160),    (*b"BG", *b"EU", 4270, 2500),    (*b"BH", *b"AS", 2610, 5050),    (*b"BI", *b"AF", -330, 2980),
    (*b"BJ", *b"AF", 750, 240),      (*b"BL", *b"NA", 1790, -6280),   (*b"BM", *b"NA", 3230, -6480),   (*b"BN", *b"AS", 480, 11480),
    (*b"BO", *b"SA", -1720, -6580),  (*b"BQ", *b"NA", 1220, -6830),   (*b"BR", *b"SA", -1850, -4550),  (*b"BS", *b"NA", 2500, -7740),
    (*b"BT", *b"AS", 2730, 9000),    (*b"BV", *b"AN", -5440, 340),    (*b"BW", *b"AF", -2380, 2620),   (*b"BY", *b"EU", 5370, 2800),
    (*b"BZ", *b"NA", 1740, -8850),   (*b"CA", *b"NA", 4650, -8200),   (*b"CC", *b"AS", -1220, 9680),   (*b"CD", *b"AF", -400, 2200),
    (*b"CF", *b"AF", 500, 1850),     (*b"CG", *b"AF", -420, 1460),    (*b"CH", *b"EU", 4710, 800),     (*b"CI", *b"AF", 620, -520),
    (*b"CK", *b"OC", -2120, -15980), (*b"CL", *b"SA", -3450, -7120),  (*b"CM", *b"AF", 500, 1150),     (*b"CN", *b"AS", 3250, 11300),
    (*b"CO", *b"SA", 530, -7460),    (*b"CR", *b"NA", 990, -8410),    (*b"CU", *b"NA", 2220, -8000),   (*b"CV", *b"AF", 1510, -2360),
    (*b"CW", *b"NA", 1220, -6900),   (*b"CX", *b"OC", -1050, 10570),  (*b"CY", *b"EU", 3500, 3320),    (*b"CZ", *b"EU", 4980, 1550),
    (*b"DE", *b"EU", 5090, 990),     (*b"DJ", *b"AF", 1160, 4300),    (*b"DK", *b"EU", 5580, 1100),    (*b"DM", *b"NA", 1540, -6130),
    (*b"DO", *b"NA", 1870, -7010),   (*b"DZ", *b"AF", 3600, 350),     (*b"EC", *b"SA", -120, -7920),   (*b"EE", *b"EU", 5910, 2530),
    (*b"EG", *b"AF", 3000, 3120),    (*b"EH", *b"AF", 2650, -1300),   (*b"ER", *b"AF", 1530, 3880),    (*b"ES", *b"EU", 4000, -320),
    (*b"ET", *b"AF", 900, 3900),     (*b"FI", *b"EU", 6140, 2500),    (*b"FJ", *b"OC", -1790, 17820),  (*b"FK", *b"SA", -5170, -5850),
    (*b"FM", *b"OC", 690, 15820),    (*b"FO", *b"EU", 6200, -680),    (*b"FR", *b"EU", 4700, 270),     (*b"GA", *b"AF", -20, 1050),
    (*b"GB", *b"EU", 5260, -160),    (*b"GD", *b"NA", 1210, -6170),   (*b"GE", *b"AS", 4190, 4380),    (*b"GF", *b"SA", 490, -5260),
    (*b"GG", *b"EU", 4950, -260),    (*b"GH", *b"AF", 660, -100),     (*b"GI", *b"EU", 3610, -530),    (*b"GL", *b"NA", 6550, -5100),
    (*b"GM", *b"AF", 1340, -1620),   (*b"GN", *b"AF", 1000, -1180),   (*b"GP", *b"NA", 1620, -6150),   (*b"GQ", *b"AF", 300, 980),
    (*b"GR", *b"EU", 3860, 2320),    (*b"GS", *b"AN", -5440, -3660),  (*b"GT", *b"NA", 1490, -9080),   (*b"GU", *b"OC", 1350, 14480),
    (*b"GW", *b"AF", 1200, -1530),   (*b"GY", *b"SA", 660, -5810),    (*b"HK", *b"AS", 2230, 11420),   (*b"HM", *b"AN", -5310, 7350),
    (*b"HN", *b"NA", 1470, -8730),   (*b"HR", *b"EU", 4550, 1600),    (*b"HT", *b"NA", 1880, -7250),   (*b"HU", *b"EU", 4730, 1930),
    (*b"ID", *b"AS", -660, 10950),   (*b"IE", *b"EU", 5320, -700),    (*b"IL", *b"AS", 3200, 3490),    (*b"IM", *b"EU", 5420, -450),
    (*b"IN", *b"AS", 2280, 7950),    (*b"IO", *b"AS", -730, 7240),    (*b"IQ", *b"AS", 3340, 4420),    (*b"IR", *b"AS", 3450, 5150),
    (*b"IS", *b"EU", 6420, -2160),   (*b"IT", *b"EU", 4290, 1210),    (*b"JE", *b"EU", 4920, -210),    (*b"JM", *b"NA", 1810, -7710),
    (*b"JO", *b"AS", 3190, 3590),    (*b"JP", *b"AS", 3560, 13730),   (*b"KE", *b"AF", -60, 3680),     (*b"KG", *b"AS", 4160, 7400),
    (*b"KH", *b"AS", 1190, 10480),   (*b"KI", *b"OC", 140, 17300),    (*b"KM", *b"AF", -1180, 4350),   (*b"KN", *b"NA", 1730, -6270),
    (*b"KP", *b"AS", 3950, 12620),   (*b"KR", *b"AS", 3660, 12760),   (*b"KW", *b"AS", 2930, 4790),    (*b"KY", *b"NA", 1930, -8130),
    (*b"KZ", *b"AS", 4750, 7150),    (*b"LA", *b"AS", 1790, 10320),   (*b"LB", *b"AS", 3390, 3570),    (*b"LC", *b"NA", 1390, -6100),
    (*b"LI", *b"EU", 4720, 950),     (*b"LK", *b"AS", 710, 8040),     (*b"LR", *b"AF", 650, -1040),    (*b"LS", *b"AF", -2950, 2790),
    (*b"LT", *b"EU", 5510, 2400),    (*b"LU", *b"EU", 4960, 610),     (*b"LV", *b"EU", 5690, 2440),    (*b"LY", *b"AF", 3230, 1550),
    (*b"MA", *b"AF", 3320, -670),    (*b"MC", *b"EU", 4370, 740),     (*b"MD", *b"EU", 4710, 2870),    (*b"ME", *b"EU", 4250, 1920),
    (*b"MF", *b"NA", 1810, -6310),   (*b"MG", *b"AF", -1940, 4710),   (*b"MH", *b"OC", 710, 17120),    (*b"MK", *b"EU", 4170, 2160),
    (*b"ML", *b"AF", 1330, -700),    (*b"MM", *b"AS", 1950, 9590),    (*b"MN", *b"AS", 4790, 10600),   (*b"MO", *b"AS", 2220, 11350),
    (*b"MP", *b"OC", 1520, 14570),   (*b"MQ", *b"NA", 1460, -6100),   (*b"MR", *b"AF", 1760, -1450),   (*b"MS", *b"NA", 1670, -6220),
    (*b"MT", *b"EU", 3590, 1440),    (*b"MU", *b"AF", -2020, 5750),   (*b"MV", *b"AS", 400, 7330),     (*b"MW", *b"AF", -1440, 3460),
    (*b"MX", *b"NA", 2080, -10050),  (*b"MY", *b"AS", 350, 10300),    (*b"MZ", *b"AF", -1800, 3580),   (*b"NA", *b"AF", -2050, 1700),
    (*b"NC", *b"OC", -2200, 16630),  (*b"NE", *b"AF", 1380, 650),     (*b"NF", *b"OC", -2900, 16800),  (*b"NG", *b"AF", 900, 700),
    (*b"NI", *b"NA", 1240, -8610),   (*b"NL", *b"EU", 5210, 520),     (*b"NO", *b"EU", 6060, 980),     (*b"NP", *b"AS", 2760, 8480),
    (*b"NR", *b"OC", -50, 16690),    (*b"NU", *b"OC", -1900, -16990), (*b"NZ", *b"OC", -3900, 17520),  (*b"OM", *b"AS", 2330, 5780),
    (*b"PA", *b"NA", 880, -7990),    (*b"PE", *b"SA", -1100, -7620),  (*b"PF", *b"OC", -1750, -14960), (*b"PG", *b"OC", -630, 14600),
    (*b"PH", *b"AS", 1290, 12200),   (*b"PK", *b"AS", 3080, 7180),    (*b"PL", *b"EU", 5180, 1930),    (*b"PM", *b"NA", 4680, -5620),
    (*b"PN", *b"OC", -2510, -13010), (*b"PR", *b"NA", 1830, -6630),   (*b"PS", *b"AS", 3180, 3490),    (*b"PT", *b"EU", 3970, -860),
    (*b"PW", *b"OC", 740, 13450),    (*b"PY", *b"SA", -2530, -5670),  (*b"QA", *b"AS", 2530, 5150),    (*b"RE", *b"AF", -2110, 5550),
    (*b"RO", *b"EU", 4560, 2560),    (*b"RS", *b"EU", 4450, 2060),    (*b"RU", *b"EU", 5620, 4900),    (*b"RW", *b"AF", -200, 3000),
    (*b"SA", *b"AS", 2400, 4400),    (*b"SB", *b"OC", -920, 15980),   (*b"SC", *b"AF", -470, 5550),    (*b"SD", *b"AF", 1460, 3220),
    (*b"SE", *b"EU", 5880, 1590),    (*b"SG", *b"AS", 135, 10382),    (*b"SH", *b"AF", -1595, -570),   (*b"SI", *b"EU", 4610, 1490),
    (*b"SJ", *b"EU", 7820, 1560),    (*b"SK", *b"EU", 4870, 1920),    (*b"SL", *b"AF", 840, -1220),    (*b"SM", *b"EU", 4390, 1250),
    (*b"SN", *b"AF", 1460, -1620),   (*b"SO", *b"AF", 400, 4500),     (*b"SR", *b"SA", 570, -5520),    (*b"SS", *b"AF", 650, 3050),
    (*b"ST", *b"AF", 30, 670),       (*b"SV", *b"NA", 1370, -8900),   (*b"SX", *b"NA", 1800, -6310),   (*b"SY", *b"AS", 3500, 3700),
    (*b"SZ", *b"AF", -2640, 3140),   (*b"TC", *b"NA", 2180, -7220),   (*b"TD", *b"AF", 1200, 1650),    (*b"TF", *b"AN", -4930, 6930),
    (*b"TG", *b"AF", 730, 110),      (*b"TH", *b"AS", 1450, 10090),   (*b"TJ", *b"AS", 3840, 6940),    (*b"TK", *b"OC", -920, -17180),
    (*b"TL", *b"OC", -870, 12580),   (*b"TM", *b"AS", 3860, 5950),    (*b"TN", *b"AF", 3600, 1000),    (*b"TO", *b"OC", -2110, -17520),
    (*b"TR", *b"AS", 3950, 3250),    (*b"TT", *b"NA", 1050, -6130),   (*b"TV", *b"OC", -850, 17920),   (*b"TW", *b"AS", 2450, 12100),
    (*b"TZ", *b"AF", -600, 3550),    (*b"UA", *b"EU", 4900, 3150),    (*b"UG", *b"AF", 80, 3260),      (*b"UM", *b"OC", 1930, 16660),
    (*b"US", *b"NA", 3750, -9250),   (*b"UY", *b"SA", -3450, -5600),  (*b"UZ", *b"AS", 4040, 6800),    (*b"VA", *b"EU", 4190, 1245),
    (*b"VC", *b"NA", 1320, -6120),   (*b"VE", *b"SA", 980, -6720),    (*b"VG", *b"NA", 1840, -6460),   (*b"VI", *b"NA", 1820, -6480),
    (*b"VN", *b"AS", 1630, 10700),   (*b"VU", *b"OC", -1680, 16760),  (*b"WF", *b"OC", -1350, -17630), (*b"WS", *b"OC", -1380, -17190),
    (*b"XK", *b"EU", 4260, 2090),    (*b"YE", *b"AS", 1480, 4480),    (*b"YT", *b"AF", -1280, 4520),   (*b"ZA", *b"AF", -2790, 2790),
    (*b"ZM", *b"AF", -1390, 2830),   (*b"ZW", *b"AF", -1860, 3040),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_complete_and_on_the_globe() {
        assert!(COUNTRIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (letters, continent, latitude, longitude) in COUNTRIES {
            assert!(is_continent(to_code(continent)), "{}", to_code(letters));
            let degrees = Location::from_degrees(f64::from(latitude) / 100.0, f64::from(longitude) / 100.0);
            assert_eq!(country(to_code(letters)).map(|it| it.centre), degrees);
        }
    }

    #[test]
    fn unassigned_codes_are_not_found() {
        assert_eq!(country(to_code(*b"ZZ")), None);
        assert!(!is_continent(to_code(*b"IE")));
        assert!(is_continent(to_code(*b"NA")));
    }
}
