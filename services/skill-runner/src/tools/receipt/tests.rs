use proptest::prelude::*;

use super::*;

/// A line of `text` whose upper left corner is at (`x`, `y`), 10 by 20 pixels a character.
fn line(text: &str, x: f32, y: f32) -> Line {
    let right = x + 10.0 * text.chars().count() as f32;
    Line {
        text: text.to_owned(),
        confidence: 0.99,
        quad: [[x, y], [right, y], [right, y + 20.0], [x, y + 20.0]],
        word_confidences: Vec::new(),
    }
}

/// Rows of cells, the cells of a row separated by `|`.
fn page(rows: &[&str]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row
            .split('|')
            .enumerate()
            .filter(|(_, cell)| !cell.trim().is_empty())
        {
            lines.push(line(
                cell.trim(),
                40.0 + 300.0 * column as f32,
                40.0 + 30.0 * index as f32,
            ));
        }
    }
    lines
}

fn value(field: Option<Field>) -> Option<String> {
    field.map(|field| field.value)
}

const RECEIPT: [&str; 14] = [
    "BLUE LANTERN TRADING SDN BHD",
    "(123456-X)",
    "NO 5, JALAN CONTOH 3,",
    "TAX INVOICE",
    "Date: 14/03/2019 18:22",
    "Item|Qty|Amount",
    "Lamp oil|2|7.50",
    "Wick|1|5.03",
    "Sub Total||12.53",
    "Rounding||0.02",
    "TOTAL||12.55",
    "CASH||20.00",
    "CHANGE||7.45",
    "Thank you",
];

#[test]
fn a_receipt_is_read() {
    let lines = page(&RECEIPT);
    let total = total(&lines).unwrap();
    assert_eq!(
        (total.value.as_str(), total.evidence.as_str()),
        ("12.55", "TOTAL 12.55")
    );
    assert!(total.confidence > 0.9, "{}", total.confidence);
    let date = date(&lines).unwrap();
    assert_eq!(date.value, "14/03/2019");
    assert_eq!(date.evidence, "Date: 14/03/2019 18:22");
    let company = company(&lines).unwrap();
    assert_eq!(company.value, "BLUE LANTERN TRADING SDN BHD");
    assert!(company.confidence > 0.8);
}

#[test]
fn totals_are_told_from_other_amounts() {
    for (rows, expected) in [
        // The tax included is no total, nor is the cash.
        (
            vec![
                "Tea||4.40",
                "Total (Excl. GST)||4.15",
                "GST 6%||0.25",
                "Total (Incl. GST)||4.40",
                "Cash||10.00",
                "Change||5.60",
            ],
            "4.40",
        ),
        // The amount stands below its label.
        (
            vec![
                "Soup||9.00",
                "Bread||3.00",
                "GRAND TOTAL",
                "RM 12.00",
                "Thank you",
            ],
            "12.00",
        ),
        // No total is printed; cash and change give it.
        (
            vec![
                "Pen||3.20",
                "Ink||4.80",
                "||8.00",
                "CASH||10.00",
                "CHANGE||2.00",
            ],
            "8.00",
        ),
        // Words read with slips.
        (vec!["Pen||3.20", "T0TAI||3.20"], "3.20"),
        (vec!["Sugar||1,250.00", "TOTAL||RM 1,250.00"], "1250.00"),
        (
            vec![
                "A||3.00",
                "Total Qty||3.00",
                "Total Amount||9.50",
                "You saved||12.00",
            ],
            "9.50",
        ),
        // A summary by rates of tax has totals of its own.
        (
            vec![
                "Milk||10.60",
                "TOTAL||10.60",
                "GST Summary|Amount|Tax",
                "SR|10.00|0.60",
                "Total|10.00|0.60",
            ],
            "10.60",
        ),
        (
            vec![
                "Nuts||13.58",
                "Total Sales||13.58",
                "Rounding Adjustment||.02",
                "Rounding||13.60",
            ],
            "13.60",
        ),
    ] {
        assert_eq!(
            value(total(&page(&rows))).as_deref(),
            Some(expected),
            "{rows:?}"
        );
    }
    assert_eq!(
        total(&page(&["Opening hours", "10:00 - 22:00", "12/03/2018"])),
        None
    );
}

#[test]
fn names_are_read() {
    for (rows, expected) in [
        (
            vec!["GREEN HILL", "(NORTH) SDN BHD", "LOT 5"],
            "GREEN HILL (NORTH) SDN BHD",
        ),
        (
            vec!["THE OLD MILL", "& SONS LTD", "12, High Street"],
            "THE OLD MILL & SONS LTD",
        ),
        (
            vec!["TAX INVOICE", "RED KITE SON BHD (12345-A)"],
            "RED KITE SDN BHD",
        ),
        (vec!["77 CORNER MART S/8", "LOT 9"], "77 CORNER MART S/B"),
        (
            vec!["GOOD DAY HARDWARE &", "ELECTRICAL", "NO.1, Jalan X"],
            "GOOD DAY HARDWARE & ELECTRICAL",
        ),
        (
            vec![
                "OLD TOWN STATIONERY SHOP",
                "NO. 3, JALAN A",
                "Tel: 12345678",
                "Owned by:",
                "X SUPPLY SDN BHD",
            ],
            "OLD TOWN STATIONERY SHOP",
        ),
        (
            vec!["SUNNY FO0DS RESTAURANTS LTD"],
            "SUNNY FOODS RESTAURANTS LTD",
        ),
        (vec!["MY BAKERLES LTD"], "MY BAKERIES LTD"),
    ] {
        assert_eq!(
            value(company(&page(&rows))).as_deref(),
            Some(expected),
            "{rows:?}"
        );
    }
    assert_eq!(company(&page(&["12/03/2018", "123 456"])), None);
}

#[test]
fn dates_of_purchase_are_told_from_others() {
    for (rows, expected) in [
        (
            vec!["Best before 01/01/2020", "Date 02/03/2019"],
            "02/03/2019",
        ),
        (vec!["Date:|05-06-18 10:12", "Printed 05-06-18"], "05-06-18"),
        (vec!["19 Mar 2018 18:26"], "19 Mar 2018"),
    ] {
        assert_eq!(
            value(date(&page(&rows))).as_deref(),
            Some(expected),
            "{rows:?}"
        );
    }
    assert_eq!(date(&page(&["12:30:45", "Total 12.50"])), None);
}

#[test]
fn doubt_shows() {
    let clear = total(&page(&RECEIPT)).unwrap();
    let mut blurred = page(&["Tea||4.40", "T0tai||9.10"]);
    for line in &mut blurred {
        line.confidence = 0.4;
    }
    let doubtful = total(&blurred).unwrap();
    assert!(
        doubtful.confidence < 0.7 && clear.confidence > 0.9,
        "{doubtful:?}"
    );
}

#[test]
fn a_date_is_as_sure_as_its_own_digits() {
    let sure = |words: &[f32]| {
        let mut lines = page(&["No. 77 Date: 14/03/2019 18:22"]);
        lines[0].confidence = 0.7;
        lines[0].word_confidences = words.to_vec();
        date(&lines).unwrap().confidence
    };
    let clear = sure(&[0.2, 0.3, 0.9, 0.96, 0.3]);
    let blurred = sure(&[0.99, 0.99, 0.99, 0.6, 0.99]);
    assert!(clear > 0.95 && blurred < 0.8, "{clear} {blurred}");
    let line_only = sure(&[]);
    assert!(blurred < line_only && line_only < clear, "{line_only}");
    // Confidences that do not fit the words say nothing of single ones.
    assert!((sure(&[0.99]) - line_only).abs() < 1e-6);
}

#[test]
fn nothing_is_read_from_nothing() {
    let broken = Line {
        quad: [[f32::NAN; 2]; 4],
        ..line("TOTAL 5.00", 0.0, 0.0)
    };
    for lines in [vec![], vec![broken], page(&[" "])] {
        assert_eq!(
            (total(&lines), date(&lines), company(&lines)),
            (None, None, None)
        );
    }
}

/// The lines as on a page that is turned by `slope`, moved and enlarged.
fn photographed(lines: &[Line], slope: f32, by: f32, zoom: f32) -> Vec<Line> {
    let moved = |line: &Line| Line {
        quad: line
            .quad
            .map(|[x, y]| [zoom * (x - slope * y) + by, zoom * (y + slope * x) + by]),
        ..line.clone()
    };
    lines.iter().map(moved).collect()
}

proptest! {
    #[test]
    fn neither_order_nor_place_matters(
        lines in Just(page(&RECEIPT)).prop_shuffle(),
        slope in -0.04..0.04_f32,
        by in 0.0..500.0_f32,
        zoom in 0.5..4.0_f32,
    ) {
        let lines = photographed(&lines, slope, by, zoom);
        prop_assert_eq!(value(total(&lines)), Some("12.55".to_owned()));
        prop_assert_eq!(value(date(&lines)), Some("14/03/2019".to_owned()));
        prop_assert_eq!(value(company(&lines)), Some("BLUE LANTERN TRADING SDN BHD".to_owned()));
    }

    #[test]
    fn the_printed_total_is_read(prices in prop::collection::vec(1..50_000_i64, 1..12), paid in 0..3_i64) {
        let sum: i64 = prices.iter().sum();
        let cash = sum + paid * 1_000;
        let mut rows: Vec<String> =
            prices.iter().map(|price| format!("Thing||{}", amounts::printed(*price))).collect();
        rows.insert(0, "SOME SHOP".to_owned());
        rows.push(format!("Total||{}", amounts::printed(sum)));
        rows.push(format!("Cash||{}", amounts::printed(cash)));
        rows.push(format!("Change||{}", amounts::printed(cash - sum)));
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        prop_assert_eq!(value(total(&page(&rows))), Some(amounts::printed(sum)));
    }

    #[test]
    fn any_lines_are_survived(
        lines in prop::collection::vec(
            ("(\\PC|[0-9.,/ ]|TOTAL |CASH|SDN BHD|S/B|é){0,20}", prop::array::uniform4(prop::array::uniform2(prop::num::f32::ANY)), 0.0..1.0_f32),
            0..12,
        ),
    ) {
        let lines: Vec<Line> =
            lines.into_iter().map(|(text, quad, confidence)| Line { text, confidence, quad, word_confidences: Vec::new() }).collect();
        for field in [total(&lines), date(&lines), company(&lines)].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&field.confidence));
            prop_assert!(!field.value.is_empty() && !field.evidence.is_empty());
        }
    }

    #[test]
    fn any_text_at_the_head_is_survived(texts in prop::collection::vec("(\\PC|SDN BHD|[($/&)]|S/B|LTD| ){0,12}", 0..8)) {
        let rows: Vec<&str> = texts.iter().map(String::as_str).collect();
        if let Some(found) = company(&page(&rows)) {
            prop_assert!(!found.value.is_empty());
        }
    }
}

#[test]
fn an_address_on_the_line_of_the_name_is_cut_off() {
    use super::names::before_address;
    assert_eq!(
        before_address("MIRABELLE PLANT HOUSE Unit 7, Glasshouse Yard"),
        "MIRABELLE PLANT HOUSE"
    );
    assert_eq!(
        before_address("CORNER SHOP, No. 12 High Street"),
        "CORNER SHOP,"
    );
    assert_eq!(before_address("UNIT 7 COFFEE"), "UNIT 7 COFFEE");
    assert_eq!(before_address("LEVEL UP GAMES"), "LEVEL UP GAMES");
}
