use super::*;
use crate::statement::parse;

fn new_book() -> Book {
    Book::new(Plugin::Sha2, Credential::Empty)
}

/// Makes changes one after the other; gives the warnings.
fn run(book: &mut Book, texts: &[&str]) -> Result<Vec<u16>, SqlError> {
    let own = Name { user: "root".into(), host: "localhost".into() };
    let mut warnings = Vec::new();
    for text in texts {
        let parsed = parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut copy = book.clone();
        let mut change = Change {
            book: &mut copy,
            own: Some(&own),
            database: Some("shop"),
            default_plugin: Plugin::Native,
            warnings: &mut warnings,
            passwords: Vec::new(),
        };
        change.make(&parsed.statement)?;
        *book = copy;
    }
    Ok(warnings.iter().map(|warning| warning.code).collect())
}

fn fails(book: &mut Book, text: &str) -> (u16, String) {
    let before = book.clone();
    let error = run(book, &[text]).expect_err(text);
    assert_eq!(*book, before);
    (error.code.0, error.text.into_owned())
}

fn names(book: &Book) -> Vec<String> {
    book.accounts.iter().map(|account| account.name()).collect()
}

/// Promise: accounts are made, changed, renamed and dropped; a statement about several does all of
/// it or nothing, and says about whom it failed.
#[test]
fn accounts_come_and_go() {
    let mut book = new_book();
    let made = ["CREATE USER b@'10.%', a IDENTIFIED BY 'x' REQUIRE SSL ACCOUNT LOCK"];
    run(&mut book, &made).unwrap();
    assert_eq!(names(&book), ["a@%", "b@10.%", "root@localhost"]);
    let a = &book.accounts[0];
    assert!(a.require_tls && a.locked && matches!(a.credential, Credential::Native(_)));
    let expected = (1396, "Operation CREATE USER failed for 'a'@'%','b'@'10.%'".to_owned());
    assert_eq!(fails(&mut book, "CREATE USER a, c, b@'10.%'"), expected);
    assert_eq!(run(&mut book, &["CREATE USER IF NOT EXISTS a, c"]).unwrap(), [3163]);
    run(&mut book, &["ALTER USER a REQUIRE NONE ACCOUNT UNLOCK", "RENAME USER a TO z@localhost"])
        .unwrap();
    assert_eq!(names(&book), ["b@10.%", "c@%", "root@localhost", "z@localhost"]);
    let z = &book.accounts[3];
    assert!(!z.require_tls && !z.locked && z.id == 3 && z.credential != Credential::Empty);
    assert_eq!(fails(&mut book, "RENAME USER c TO z@localhost").0, 1396);
    assert_eq!(fails(&mut book, "RENAME USER nobody TO y").0, 1396);
    assert_eq!(fails(&mut book, "DROP USER c, nobody").0, 1396);
    assert_eq!(fails(&mut book, "ALTER USER nobody ACCOUNT LOCK").0, 1396);
    let quiet = ["DROP USER IF EXISTS c, nobody", "ALTER USER IF EXISTS nobody ACCOUNT LOCK"];
    assert_eq!(run(&mut book, &quiet).unwrap(), [3162, 3162]);
    assert_eq!(names(&book), ["b@10.%", "root@localhost", "z@localhost"]);
}

/// Promise: what is not kept is refused by name; nothing is dropped in silence.
#[test]
fn what_is_not_supported_is_refused() {
    let mut book = new_book();
    for (text, code) in [
        ("CREATE USER ''", 1235),
        ("CREATE USER u@'example.com'", 1235),
        ("CREATE USER u WITH MAX_QUERIES_PER_HOUR 3", 1235),
        ("CREATE USER abcdefghijklmnopqrstuvwxyz1234567", 1470),
        ("CREATE USER u IDENTIFIED WITH sha256_password BY 'x'", 1524),
        ("CREATE USER u IDENTIFIED WITH mysql_native_password AS 'x'", 1827),
        ("RENAME USER root@localhost TO ''", 1235),
        ("GRANT SELECT (a) ON t TO root@localhost", 1235),
        ("GRANT SUPER ON shop.* TO root@localhost", 1221),
        ("GRANT SUPER ON shop.t TO root@localhost", 1144),
        ("GRANT SELECT ON *.* TO nobody", 1410),
        ("REVOKE SELECT ON *.* FROM nobody", 1141),
        ("REVOKE SELECT ON shop.* FROM root", 1141),
        ("REVOKE SELECT ON shop.t FROM root", 1147),
        ("REVOKE ALL, GRANT OPTION FROM nobody", 1269),
    ] {
        assert_eq!(fails(&mut book, text).0, code, "{text}");
    }
    run(&mut book, &["CREATE USER u WITH MAX_QUERIES_PER_HOUR 0"]).unwrap();
}

/// Promise: how accounts log in is as they were told, and stays so when the password changes.
#[test]
fn plugins_are_kept() {
    let hash = "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";
    let mut book = new_book();
    let texts = [
        "CREATE USER a IDENTIFIED WITH caching_sha2_password",
        "CREATE USER b IDENTIFIED WITH 'mysql_native_password' BY 'secret'",
        &format!(
            "CREATE USER c IDENTIFIED WITH caching_sha2_password BY 'x', d IDENTIFIED BY PASSWORD '{hash}'"
        ),
        "ALTER USER a IDENTIFIED BY 'y'",
        "ALTER USER c IDENTIFIED WITH mysql_native_password BY 'secret'",
    ];
    run(&mut book, &texts).unwrap();
    let text = |user: &str| {
        let account = book.accounts.iter().find(|account| account.user == user).unwrap();
        (account.plugin, account.credential.text().unwrap())
    };
    assert_eq!(text("a").0, Plugin::Sha2);
    assert!(text("a").1.starts_with("$PBKDF2-SHA256$"));
    for user in ["b", "c", "d"] {
        assert_eq!(text(user), (Plugin::Native, hash.to_owned()), "{user}");
    }
}

/// Promise (S09): grants add to what there is, revokes take from it, each where it says.
#[test]
fn s09_grants_are_given_and_taken() {
    use Privileges as P;
    let mut book = new_book();
    let texts = [
        "CREATE USER u",
        "GRANT SELECT, INSERT ON shop.* TO u",
        "GRANT UPDATE ON shop.* TO u WITH GRANT OPTION",
        "GRANT DELETE ON orders TO u",
        "GRANT ALTER ON * TO u",
        "GRANT PROCESS ON *.* TO u",
        "GRANT USAGE ON hr.* TO u",
    ];
    run(&mut book, &texts).unwrap();
    let grants = |book: &Book| book.accounts[1].grants.clone();
    let on = P::SELECT | P::INSERT | P::UPDATE | P::ALTER | P::GRANT_OPTION;
    assert_eq!(grants(&book).databases, [("shop".to_owned(), on)].into());
    let table = ("shop".to_owned(), "orders".to_owned());
    assert_eq!(grants(&book).tables, [(table, P::DELETE)].into());
    assert_eq!(grants(&book).global, P::PROCESS);
    let texts = ["REVOKE ALL ON shop.* FROM u", "REVOKE DELETE ON orders FROM u"];
    run(&mut book, &texts).unwrap();
    assert_eq!(grants(&book).databases, [("shop".to_owned(), P::GRANT_OPTION)].into());
    assert!(grants(&book).tables.is_empty());
    run(&mut book, &["REVOKE GRANT OPTION ON shop.* FROM u"]).unwrap();
    assert!(grants(&book).databases.is_empty());
    run(&mut book, &["REVOKE ALL, GRANT OPTION FROM u"]).unwrap();
    assert_eq!(grants(&book), Grants::default());
    run(&mut book, &["GRANT SELECT ON shop.* TO v IDENTIFIED BY 'x'"]).unwrap();
    assert_eq!(names(&book), ["root@localhost", "u@%", "v@%"]);
}

/// Promise: a number is never given twice, so that no session becomes another's.
#[test]
fn numbers_are_never_given_twice() {
    let mut book = new_book();
    run(&mut book, &["CREATE USER u", "DROP USER u", "CREATE USER u"]).unwrap();
    assert_eq!(book.meant(&Name { user: "u".into(), host: "%".into() }).unwrap().id, 3);
}
