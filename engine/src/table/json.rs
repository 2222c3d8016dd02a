//! Whether a text is JSON: JSON columns refuse anything else (MySQL 3140). The text is kept as
//! it was given.

/// Deepest nesting, as in MySQL: it bounds the memory of the check.
const DEPTH_MAX: usize = 100;

/// Checks that `text` is one JSON value; `Err` is the byte where it stops being one.
pub(crate) fn check(text: &str) -> Result<(), usize> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    let checked = reader.document();
    checked.ok_or(reader.at)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What may come next inside an array or object.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Array,
    Object,
}

impl Reader<'_> {
    fn document(&mut self) -> Option<()> {
        let mut open: Vec<Inside> = Vec::new();
        self.blanks();
        loop {
            let opened = self.value_start(&mut open)?;
            if opened {
                continue;
            }
            // A value has ended; so may have those around it.
            loop {
                self.blanks();
                let Some(inside) = open.last().copied() else {
                    return (self.at == self.bytes.len()).then_some(());
                };
                if self.eat(b',') {
                    self.blanks();
                    if inside == Inside::Object {
                        self.name()?;
                    }
                    break;
                }
                self.eat(if inside == Inside::Array { b']' } else { b'}' }).then_some(())?;
                open.pop();
            }
        }
    }

    /// Reads a value, or only its start (then true) if it is an array or object with content.
    fn value_start(&mut self, open: &mut Vec<Inside>) -> Option<bool> {
        let (inside, end) = match self.bytes.get(self.at)? {
            b'[' => (Inside::Array, b']'),
            b'{' => (Inside::Object, b'}'),
            _ => return self.scalar().map(|()| false),
        };
        self.at += 1;
        self.blanks();
        if self.eat(end) {
            return Some(false);
        }
        if open.len() == DEPTH_MAX {
            return None;
        }
        open.push(inside);
        if inside == Inside::Object {
            self.name()?;
        }
        Some(true)
    }

    fn scalar(&mut self) -> Option<()> {
        match self.bytes.get(self.at)? {
            b'"' => self.string(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn name(&mut self) -> Option<()> {
        self.string()?;
        self.blanks();
        self.eat(b':').then_some(())?;
        self.blanks();
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.eat(b'"').then_some(())?;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _signed = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| b" \t\r\n".contains(byte)) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_told_from_what_is_none() {
        for text in [
            "null",
            " true ",
            "-0.5e+3",
            "\"a\\u00e9\\n\"",
            "[]",
            "{}",
            "[1, [2], {\"a\": []}]",
            "{\"a\": {\"b\": 1}, \"c\": \"\"}",
            "\"é\"",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, at) in [
            ("", 0),
            ("nul", 0),
            ("01", 1),
            ("[1,]", 3),
            ("{\"a\"}", 4),
            ("[1", 2),
            ("1 2", 2),
            ("\"a", 2),
            ("\"\\x\"", 1),
            ("{1:2}", 1),
            ("]", 0),
            ("\"\t\"", 1),
            ("1.", 2),
            ("-", 1),
        ] {
            assert_eq!(check(text), Err(at), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert!(check(&nested(DEPTH_MAX + 1)).is_err());
        assert!(check(&"[".repeat(1_000_000)).is_err());
    }
}
