//! `~/.pgpass`: passwords by host, port, database and user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::dsn::{Address, Dsn};
use super::secret::Secret;

/// The password of the first line that fits, from a file that nobody else can read.
pub(crate) fn look_up(file: &Path, dsn: &Dsn, address: &Address, database: &str) -> Option<Secret> {
    let mode = fs::metadata(file).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        return None;
    }
    let (host, port) = match address {
        Address::Socket(..) => ("localhost".to_owned(), port(address)),
        Address::Tcp(host, _) => (host.clone(), port(address)),
    };
    let wanted = [host, port.to_string(), database.to_owned(), dsn.user.clone()];
    let text = fs::read_to_string(file).ok()?;
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [names @ .., password] = &fields[..] else { return None };
        let fits = names.len() == 4
            && names.iter().zip(&wanted).all(|(name, wanted)| name == "*" || name == wanted);
        fits.then(|| Secret::new(password.clone()))
    })
}

/// One line of such a file.
pub(crate) fn line(address: &Address, user: &str, password: &Secret) -> String {
    let host = match address {
        Address::Socket(..) => "*".to_owned(),
        Address::Tcp(host, _) => escape(host),
    };
    format!("{host}:{}:*:{}:{}\n", port(address), escape(user), escape(password.reveal()))
}

fn port(address: &Address) -> u16 {
    match address {
        Address::Socket(_, port) | Address::Tcp(_, port) => *port,
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            // The last field is the rest of the line, apart from what is escaped.
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(chars.next())),
            char => fields.last_mut().into_iter().for_each(|field| field.push(char)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        let dsn = Dsn::parse("host=db user=me dbname=app").unwrap();
        let secret = Secret::new(r"a:b\c");
        let own = line(&dsn.addresses[0], "me", &secret);
        fs::write(&file, format!("# x\nother:*:*:me:no\n{own}*:*:*:*:late\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(look_up(&file, &dsn, &dsn.addresses[0], "app"), None, "others may read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(look_up(&file, &dsn, &dsn.addresses[0], "app"), Some(secret));
        let socket = Address::Socket("/run".into(), 5432);
        assert_eq!(look_up(&file, &dsn, &socket, "app"), Some(Secret::new("late")));
    }
}
