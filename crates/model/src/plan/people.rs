//! Watching and telling: detectors, contacts, vendors, escalations, channels, alerts, templates;
//! and what documents need: prevention and prices.

use crate::duration::Duration;
use crate::plan::read::{Many, one_of, table, words};
use crate::plan::value::{Percent, Scalar};
use crate::span::At;

table! {
    /// Something that notices a disaster.
    "a detector" pub struct Detector {
        /// How often it looks.
        every: Option<At<Duration>>,
        /// How many failures in a row make an alarm.
        failures: Option<At<u32>>,
        /// One look fails after so long.
        timeout: Option<At<Duration>>,
        /// Expected answer; for an address the status.
        expect: Option<At<Scalar>>,
        /// A text that the answer must contain.
        contains: Option<At<String>>,
        /// The component that it watches.
        component: Option<At<String>>,
        /// The scenario that it proposes.
        scenario: Option<At<String>>,
        /// How severe it is.
        severity: Option<At<String>>,
        /// What it notices.
        description: Option<At<String>>,
    }
    one probe: Probe;
}

one_of! {
    /// How a detector looks.
    pub enum Probe {
        /// Asks an address.
        Http(At<String>) = "http",
        /// Opens a connection to `host:port`.
        Tcp(At<String>) = "tcp",
        /// Asks the component's database.
        Query(At<String>) = "query",
        /// Runs a command.
        Command(At<String>) = "command",
        /// Looks whether a file is there.
        File(At<String>) = "file",
    }
}

table! {
    /// Somebody to call.
    "a contact" pub struct Contact {
        /// What they do in a disaster.
        role: Option<At<String>>,
        /// Their name.
        name: Option<At<String>>,
        /// Telephone.
        phone: Option<At<String>>,
        /// Electronic mail.
        email: Option<At<String>>,
        /// Contact who stands in for them.
        backup: Option<At<String>>,
        /// When they can be reached.
        hours: Option<At<String>>,
        /// What they are responsible for.
        description: Option<At<String>>,
    }
}

table! {
    /// A firm whose help is needed.
    "a vendor" pub struct Vendor {
        /// What they provide.
        service: Option<At<String>>,
        /// Their name.
        name: Option<At<String>>,
        /// Telephone of their support.
        phone: Option<At<String>>,
        /// Electronic mail of their support.
        email: Option<At<String>>,
        /// Address of their support.
        url: Option<At<String>>,
        /// Our account there.
        account: Option<At<String>>,
        /// Environment variable that holds the account.
        account_env: Option<At<String>>,
        /// What they promise.
        sla: Option<At<String>>,
    }
}

table! {
    /// Who is told, later and later.
    "an escalation" pub struct Escalation {
        /// The levels, in order.
        #[serde(default)]
        levels: Vec<At<Level>>,
        /// What it is for.
        description: Option<At<String>>,
    }
}

table! {
    /// One level of an escalation.
    "a level" pub struct Level {
        /// Name: Operations, Management …
        name: Option<At<String>>,
        /// Begins so long after detection.
        after: At<Duration>,
        /// Ends so long after detection.
        until: Option<At<Duration>>,
        /// Contacts who are told.
        #[serde(default)]
        contacts: Many<At<String>>,
        /// Channels by which they are told.
        #[serde(default)]
        channels: Many<At<String>>,
        /// What they do.
        #[serde(default)]
        duties: Many<At<String>>,
    }
}

table! {
    /// A way to tell people.
    "a channel" pub struct Channel {
        /// Only from this severity on.
        severity: Option<At<String>>,
        /// What it is for.
        description: Option<At<String>>,
    }
    one by: Way;
}

one_of! {
    /// How a channel tells people.
    pub enum Way {
        /// Electronic mail.
        Email(Email) = "email",
        /// Short messages.
        Sms(Sms) = "sms",
        /// A call to an address.
        Webhook(Webhook) = "webhook",
        /// A command that receives the message on standard input.
        Command(At<String>) = "command",
        /// A file to which messages are appended.
        File(At<String>) = "file",
    }
}

table! {
    /// Electronic mail.
    "email" pub struct Email {
        /// Receivers: addresses or contacts.
        #[serde(default)]
        to: Many<At<String>>,
        /// Sender.
        from: Option<At<String>>,
        /// Mail server, `host:port`.
        server: Option<At<String>>,
        /// Environment variable that holds the user name.
        user_env: Option<At<String>>,
        /// Environment variable that holds the password.
        password_env: Option<At<String>>,
        /// File that holds the password.
        password_file: Option<At<String>>,
    }
}

table! {
    /// Short messages.
    "sms" pub struct Sms {
        /// Receivers: numbers or contacts.
        #[serde(default)]
        to: Many<At<String>>,
        /// Environment variable that holds the gateway's address.
        url_env: Option<At<String>>,
        /// Environment variable that holds the gateway's token.
        token_env: Option<At<String>>,
        /// Command that sends one: number as its argument, text on standard input.
        command: Option<At<String>>,
    }
}

table! {
    /// A call to an address.
    "webhook" pub struct Webhook {
        /// The address, if it is no secret.
        url: Option<At<String>>,
        /// Environment variable that holds the address.
        url_env: Option<At<String>>,
        /// Environment variable that holds a bearer token.
        token_env: Option<At<String>>,
    }
}

words! {
    /// What an alert is about.
    "event to alert on" pub enum AlertEvent {
        /// A backup succeeded.
        BackupSucceeded = "backup-succeeded",
        /// A backup failed.
        BackupFailed = "backup-failed",
        /// A backup was due and did not run.
        BackupMissed = "backup-missed",
        /// A verification failed.
        VerifyFailed = "verify-failed",
        /// A drill failed.
        DrillFailed = "drill-failed",
        /// A drill was due and did not run.
        DrillMissed = "drill-missed",
        /// An objective is or would be missed.
        ObjectiveMissed = "objective-missed",
        /// A tier fills up.
        StorageFull = "storage-full",
        /// A tier cannot be reached.
        TierUnreachable = "tier-unreachable",
        /// A detector fired.
        Detected = "detected",
        /// An incident was declared.
        IncidentDeclared = "incident-declared",
        /// The audit log was changed.
        AuditBroken = "audit-broken",
        /// A review of the plan or of an incident is overdue.
        ReviewOverdue = "review-overdue",
    }
}

table! {
    /// What is told to whom.
    "an alert" pub struct Alert {
        /// About what.
        on: Many<At<AlertEvent>>,
        /// By which channels.
        #[serde(default)]
        channels: Many<At<String>>,
        /// For `storage-full`: from this part of the capacity on.
        above: Option<At<Percent>>,
        /// Only after it has lasted so long.
        after: Option<At<Duration>>,
        /// Told again after so long.
        repeat: Option<At<Duration>>,
        /// How severe it is.
        severity: Option<At<String>>,
        /// Text to use.
        template: Option<At<String>>,
        /// Escalation to follow.
        escalation: Option<At<String>>,
    }
}

table! {
    /// A text to send.
    "a template" pub struct Template {
        /// Subject.
        subject: Option<At<String>>,
        /// Text, with `{placeholders}`.
        body: Option<At<String>>,
        /// File that holds the text instead.
        file: Option<At<String>>,
    }
}

table! {
    /// What is done so that a disaster does not happen.
    "a prevention" pub struct Prevention {
        /// Against which disaster.
        disaster: Option<At<String>>,
        /// The scenario that it belongs to.
        scenario: Option<At<String>>,
        /// What prevents it.
        #[serde(default)]
        prevent: Many<At<String>>,
        /// What detects it.
        #[serde(default)]
        detect: Many<At<String>>,
        /// What recovers from it.
        #[serde(default)]
        recover: Many<At<String>>,
    }
}

table! {
    /// What storage costs.
    "a price" pub struct Price {
        /// The tier that it is for; the entry's name if not given.
        tier: Option<At<String>>,
        /// Currency: USD, EUR …
        currency: Option<At<String>>,
        /// For a gigabyte (10⁹ bytes) kept for a month.
        per_gb_month: Option<At<f64>>,
        /// For a gigabyte read.
        per_gb_out: Option<At<f64>>,
        /// For a thousand writes.
        per_thousand_writes: Option<At<f64>>,
        /// For a thousand reads.
        per_thousand_reads: Option<At<f64>>,
        /// What it was put at before.
        estimate_per_month: Option<At<f64>>,
    }
}
