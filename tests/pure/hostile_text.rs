//! Text that may be taken for something else than text.

use proptest::prelude::*;

/// Text that some parser between the test and the API server may take for something else.
#[rustfmt::skip] // One a line says nothing more.
pub const HOSTILE: &[&str] = &[
    // Quotes and backslashes.
    "\"", "'", "''", "\"\"", "a\"b", "it's", "\\", "\\\\", "\\n", "\\\"", "\\u0041", "`", "a\\",
    // Lines and spaces.
    "\n", "\r", "\r\n", "\t", "a\nb", "a\r\nb: c", "a\rb", " a", "a ", " ", "\ta", "a\n", "\n\n- b\n", "a\n\n  b",
    "\u{b}", "\u{c}",
    // Templates.
    "{{ test }}", "{{", "}}", "{% raw %}", "{%", "%}", "{# a #}", "{#", "{{ values.kafka.password }}",
    "{% include \"x\" %}", "-}}",
    // YAML.
    "---", "...", "--- a", "&a", "*a", "!!str a", "!t", "!!binary YQ==", "<<", "- a", "-", "?", "? a", ":", ": a",
    "a: b", "a:", "[", "]", "[a]", "{", "}", "{a: b}", ",", "#", "# a", "a # b", "|", "|-", ">", ">+2", "%",
    "%YAML 1.2", "@", "=", "\n---\na: b",
    // Other types.
    "null", "Null", "~", "true", "True", "false", "yes", "no", "on", "off", "y", "n", "0", "-0", "1", "0x1", "0o7",
    "017", "1e3", "1.5", "-1", "+1", ".5", "1_000", "0b1", ".inf", "-.INF", ".nan", "NaN", "1:30", "2001-01-01",
    "2001-01-01T00:00:00Z", "123456789012345678901234567890",
    // Unicode.
    "é", "e\u{301}", "日本", "🦗", "👩‍👩‍👧", "עברית", "\u{202e}abc", "\u{2066}a\u{2069}", "\u{200f}", "\u{61c}",
    "\u{200b}", "\u{a0}", "\u{3000}", "\u{2028}", "\u{2029}", "a\u{2028}b: c", "\u{85}", "a\u{85}b: c", "\u{feff}",
    "\u{feff}a", "\u{fffe}", "\u{ffff}", "\u{fffd}", "\u{1fffe}", "\u{10ffff}", "\u{e000}",
    // Control characters.
    "\0", "a\0b", "\u{1}", "\u{8}", "\u{1b}[31m", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}",
    // The words of others.
    "$(A)", "$$(A)", "${A}", "$A", "`id`", "; id", "a && b", "../../etc", "%s%n", "<script>", "${jndi:x}",
];

/// One to five pieces: the hostile ones, and characters of any kind.
pub fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(HOSTILE).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => proptest::collection::vec(any::<char>(), 0..20).prop_map(String::from_iter),
    ];
    proptest::collection::vec(piece, 1..6)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("an empty text is an absent one", |text| !text.is_empty())
}
