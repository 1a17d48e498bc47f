-- pending: first
-- phase: underway
BEGIN TRANSACTION;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO "about" VALUES('state','{"cases":{},"hooks":{},"boot_id":"boot-1","me":"vm-1","fresh":true,"runs":1,"settled":[],"beyond":0,"over":[]}');
INSERT INTO "about" VALUES('last_at','2026-11-20T10:00:00+00:00');
INSERT INTO "about" VALUES('vm_id','7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11');
CREATE TABLE cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "cases" VALUES('e1','{"event":{"id":"e1","kind":"freeze","resources":["vm-1"],"started":true,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","extra":{},"notice_s":null,"odd_status":null},"phase":"underway","listed":true,"spelling":"","due_raw_s":1900.0,"wake_raw_s":null,"ask_attempt":0,"asked_for":[],"refused":false,"acknowledged":false,"lost_raw_s":0.0,"again_raw_s":0.0,"kept":null,"pauses":[],"since_raw_s":0.0,"check_round":0,"looked_raw_s":0.0,"clock":null,"hooks_named":false,"began":true,"missed":false,"away":false,"rebooted":false,"given_back":false,"stopped":false}');
CREATE TABLE entries (n INTEGER PRIMARY KEY, at TEXT NOT NULL, event_id TEXT NOT NULL,
                                    what TEXT NOT NULL, note TEXT NOT NULL, type TEXT, subject TEXT) STRICT;
INSERT INTO "entries" VALUES(1,'2026-11-20T10:00:00+00:00','e1','noticed','','Event','{"id":"e1","kind":"freeze","resources":["vm-1"],"started":false,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","extra":{},"notice_s":900.0,"odd_status":null}');
INSERT INTO "entries" VALUES(2,'2026-11-20T10:00:00+00:00','e1','preparing','',NULL,NULL);
INSERT INTO "entries" VALUES(3,'2026-11-20T10:00:00+00:00','e1','started','the platform reports it as Started','Event','{"id":"e1","kind":"freeze","resources":["vm-1"],"started":true,"not_before":null,"expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","extra":{},"notice_s":null,"odd_status":null}');
INSERT INTO "entries" VALUES(4,'2026-11-20T10:00:00+00:00','e1','underway','',NULL,NULL);
CREATE TABLE hooks (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "hooks" VALUES('first','{"spec":{"name":"first","order":10,"path":"/hooks/10-first","kinds":["freeze","preempt","reboot","redeploy","terminate","unknown"],"min_pause_s":0.0,"timeout_s":60.0,"required":true,"user":null,"umask":18,"refused":null},"stage":"preparing","wanted_by":["e1"],"prepared_for":0,"worked":false,"unsafe":false,"owed":false,"recover_begun":false,"run":1,"attempt":1,"limit_s":60.0,"begun_raw_s":1000.0,"begun_at":"2026-11-20T10:00:00+00:00","until_raw_s":1835.0,"again_raw_s":0.0,"in_turn":false,"failures":0,"event_id":"e1","kind":"freeze","reason":""}');
INSERT INTO "hooks" VALUES('second','{"spec":{"name":"second","order":20,"path":"/hooks/20-second","kinds":["freeze","preempt","reboot","redeploy","terminate","unknown"],"min_pause_s":0.0,"timeout_s":60.0,"required":true,"user":null,"umask":18,"refused":null},"stage":"queued","wanted_by":["e1"],"prepared_for":0,"worked":false,"unsafe":false,"owed":false,"recover_begun":false,"run":0,"attempt":0,"limit_s":0.0,"begun_raw_s":0.0,"begun_at":null,"until_raw_s":0.0,"again_raw_s":0.0,"in_turn":false,"failures":0,"event_id":"","kind":"unknown","reason":""}');
CREATE INDEX entries_by_event ON entries (event_id, n);
CREATE INDEX entries_by_type ON entries (type, n) WHERE type IS NOT NULL;
COMMIT;
PRAGMA user_version = 2;
