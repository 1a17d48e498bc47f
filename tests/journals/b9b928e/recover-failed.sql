-- pending: first second
-- phase: recovering
BEGIN TRANSACTION;
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
INSERT INTO "about" VALUES('state','{"cases":{},"hooks":{},"boot_id":"boot-1","me":"vm-1","fresh":true,"runs":4,"settled":["e1"],"beyond":0,"over":[],"connect_raw_s":0.0,"connected":{}}');
INSERT INTO "about" VALUES('last_at','2026-11-20T10:00:10+00:00');
INSERT INTO "about" VALUES('vm_id','7a1c9e55-0c0d-4d8e-9a55-3f4f0f6f2b11');
CREATE TABLE cases (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "cases" VALUES('e1','{"event":{"id":"e1","kind":"freeze","resources":["vm-1"],"started":true,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","takes_acknowledgement":true,"extra":{},"notice_s":null,"odd_status":null},"phase":"recovering","listed":true,"current_id":"","due_raw_s":1900.0,"wake_raw_s":null,"ack_attempts":1,"ack_resources":["vm-1"],"ack":"accepted","lost_raw_s":0.0,"again_raw_s":0.0,"pending_pause":null,"pauses":[{"id":"p1","resumed_at":"2026-11-20T10:00:05+00:00","resumed_raw_s":1005.0,"length_s":5.0,"uncertainty_s":0.1,"cause":"vm-pause","evidence":[],"quality":"measured","clocksource":null,"host":null}],"since_raw_s":1005.0,"check_round":1,"looked_raw_s":1009.75,"clock":{"verdict":"good","offset_s":0.001,"error_bound_s":0.004,"checked_at":"2026-11-20T10:00:00+00:00","good_after_s":null,"samples":[],"reason":"","tolerance_s":null},"hooks_named":false,"missed":false,"agent_was_down":false,"rebooted":false,"recovered_by":"event","observed_only":false}');
CREATE TABLE entries (n INTEGER PRIMARY KEY, at TEXT NOT NULL, event_id TEXT NOT NULL,
                                    what TEXT NOT NULL, note TEXT NOT NULL, type TEXT, subject TEXT) STRICT;
INSERT INTO "entries" VALUES(1,'2026-11-20T10:00:10+00:00','e1','noticed','','Event','{"id":"e1","kind":"freeze","resources":["vm-1"],"started":false,"not_before":"2026-11-20T10:15:00+00:00","expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","takes_acknowledgement":true,"extra":{},"notice_s":900.0,"odd_status":null}');
INSERT INTO "entries" VALUES(2,'2026-11-20T10:00:10+00:00','e1','preparing','','Phase',NULL);
INSERT INTO "entries" VALUES(3,'2026-11-20T10:00:10+00:00','e1','hook prepare','first: done','HookRun','{"name":"first","phase":"prepare","attempt":1,"report":{"outcome":"done","exit_status":0,"started_at":"2026-11-20T10:00:00+00:00","duration_s":0.1,"output":"","note":"","begun":true},"limit_s":60.0,"is_application":false}');
INSERT INTO "entries" VALUES(4,'2026-11-20T10:00:10+00:00','e1','hook prepare','second: done','HookRun','{"name":"second","phase":"prepare","attempt":1,"report":{"outcome":"done","exit_status":0,"started_at":"2026-11-20T10:00:00+00:00","duration_s":0.1,"output":"","note":"","begun":true},"limit_s":60.0,"is_application":false}');
INSERT INTO "entries" VALUES(5,'2026-11-20T10:00:10+00:00','e1','acknowledging','','Phase',NULL);
INSERT INTO "entries" VALUES(6,'2026-11-20T10:00:10+00:00','e1','acknowledgement accepted','',NULL,NULL);
INSERT INTO "entries" VALUES(7,'2026-11-20T10:00:10+00:00','e1','acknowledged','','Phase',NULL);
INSERT INTO "entries" VALUES(8,'2026-11-20T10:00:10+00:00','e1','event started','the platform says Started','Event','{"id":"e1","kind":"freeze","resources":["vm-1"],"started":true,"not_before":null,"expected_pause_s":5.0,"description":"","event_source":"platform","source":"azure","takes_acknowledgement":true,"extra":{},"notice_s":null,"odd_status":null}');
INSERT INTO "entries" VALUES(9,'2026-11-20T10:00:10+00:00','e1','started','','Phase',NULL);
INSERT INTO "entries" VALUES(10,'2026-11-20T10:00:10+00:00','e1','pause','vm-pause of 5.000 s ± 0.100 s','Pause','{"id":"p1","resumed_at":"2026-11-20T10:00:05+00:00","resumed_raw_s":1005.0,"length_s":5.0,"uncertainty_s":0.1,"cause":"vm-pause","evidence":[],"quality":"measured","clocksource":null,"host":null}');
INSERT INTO "entries" VALUES(11,'2026-11-20T10:00:10+00:00','e1','checking-clock','','Phase',NULL);
INSERT INTO "entries" VALUES(12,'2026-11-20T10:00:10+00:00','e1','clock','good','ClockCheck','{"verdict":"good","offset_s":0.001,"error_bound_s":0.004,"checked_at":"2026-11-20T10:00:00+00:00","good_after_s":null,"samples":[],"reason":"","tolerance_s":null}');
INSERT INTO "entries" VALUES(13,'2026-11-20T10:00:10+00:00','e1','settling','','Phase',NULL);
INSERT INTO "entries" VALUES(14,'2026-11-20T10:00:10+00:00','e1','recovering','','Phase',NULL);
INSERT INTO "entries" VALUES(15,'2026-11-20T10:00:10+00:00','e1','hook recover','second: failed','HookRun','{"name":"second","phase":"recover","attempt":1,"report":{"outcome":"failed","exit_status":0,"started_at":"2026-11-20T10:00:00+00:00","duration_s":0.1,"output":"","note":"","begun":true},"limit_s":60.0,"is_application":false}');
CREATE TABLE hooks (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
INSERT INTO "hooks" VALUES('first','{"spec":{"name":"first","order":10,"path":"/hooks/10-first","kinds":["freeze","preempt","reboot","redeploy","terminate","unknown"],"min_pause_s":0.0,"timeout_s":60.0,"required":true,"user":null,"umask":18,"refused":null,"is_application":false,"fails_absent":false},"stage":"recovering","wanted_by":[],"prepared_for":0,"prepare_result":"worked","needs_recover":true,"run":4,"attempt":1,"limit_s":60.0,"begun_raw_s":1010.0,"begun_at":"2026-11-20T10:00:10+00:00","until_raw_s":1610.0,"again_raw_s":0.0,"failures":0,"instance":"","resumed_instance":"","event_id":"e1","kind":"freeze","reason":"resumed"}');
INSERT INTO "hooks" VALUES('second','{"spec":{"name":"second","order":20,"path":"/hooks/20-second","kinds":["freeze","preempt","reboot","redeploy","terminate","unknown"],"min_pause_s":0.0,"timeout_s":60.0,"required":true,"user":null,"umask":18,"refused":null,"is_application":false,"fails_absent":false},"stage":"recover-retry","wanted_by":[],"prepared_for":0,"prepare_result":"worked","needs_recover":true,"run":3,"attempt":1,"limit_s":60.0,"begun_raw_s":1010.0,"begun_at":"2026-11-20T10:00:10+00:00","until_raw_s":0.0,"again_raw_s":1015.0,"failures":1,"instance":"","resumed_instance":"","event_id":"e1","kind":"freeze","reason":"resumed"}');
CREATE TABLE inputs (n INTEGER PRIMARY KEY, stretch INTEGER NOT NULL, segment INTEGER NOT NULL,
                                   body TEXT NOT NULL) STRICT;
CREATE INDEX entries_by_event ON entries (event_id, n);
CREATE INDEX entries_by_type ON entries (type, n) WHERE type IS NOT NULL;
COMMIT;
PRAGMA user_version = 3;
