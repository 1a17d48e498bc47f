-- pending: 
-- phase: held
BEGIN TRANSACTION;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO "about" VALUES('state','{"cases":{},"hooks":{},"boot_id":"boot-1","me":"vm-1","fresh":true,"runs":0,"settled":[],"beyond":0,"over":[],"connect_raw_s":0.0,"connected":{}}');
INSERT INTO "about" VALUES('last_at','2026-11-20T10:00:00+00:00');
INSERT INTO "about" VALUES('vm_id','7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11');
CREATE TABLE cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "cases" VALUES('e1','{"event":{"id":"e1","kind":"freeze","resources":["vm-1"],"started":false,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","takes_acknowledgement":true,"extra":{},"notice_s":null,"odd_status":null},"phase":"held","listed":true,"current_id":"","due_raw_s":1900.0,"wake_raw_s":null,"ack_attempts":0,"ack_resources":[],"ack":"open","lost_raw_s":0.0,"again_raw_s":0.0,"pending_pause":null,"pauses":[],"since_raw_s":0.0,"check_round":0,"looked_raw_s":0.0,"clock":null,"hooks_named":false,"missed":false,"agent_was_down":false,"rebooted":false,"recovered_by":"event","observed_only":true}');
CREATE TABLE entries (n INTEGER PRIMARY KEY, at TEXT NOT NULL, event_id TEXT NOT NULL,
                                    what TEXT NOT NULL, note TEXT NOT NULL, type TEXT, subject TEXT) STRICT;
INSERT INTO "entries" VALUES(1,'2026-11-20T10:00:00+00:00','e1','noticed','','Event','{"id":"e1","kind":"freeze","resources":["vm-1"],"started":false,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","takes_acknowledgement":true,"extra":{},"notice_s":900.0,"odd_status":null}');
INSERT INTO "entries" VALUES(2,'2026-11-20T10:00:00+00:00','e1','preparing','','Phase',NULL);
INSERT INTO "entries" VALUES(3,'2026-11-20T10:00:00+00:00','e1','would prepare','first, second; at most 120 s',NULL,NULL);
INSERT INTO "entries" VALUES(4,'2026-11-20T10:00:00+00:00','e1','held','[policy] mode is observe','Phase',NULL);
INSERT INTO "entries" VALUES(5,'2026-11-20T10:00:00+00:00','e1','would acknowledge','at the latest when its hooks had been prepared',NULL,NULL);
CREATE TABLE hooks (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE inputs (n INTEGER PRIMARY KEY, stretch INTEGER NOT NULL, segment INTEGER NOT NULL,
                                   body TEXT NOT NULL) STRICT;
CREATE INDEX entries_by_event ON entries (event_id, n);
CREATE INDEX entries_by_type ON entries (type, n) WHERE type IS NOT NULL;
COMMIT;
PRAGMA user_version = 3;
