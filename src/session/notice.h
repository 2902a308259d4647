/*-------------------------------------------------------------------------
 *
 * notice.h
 *		A session that waits, and nothing comes, is told why.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_NOTICE_H
#define RSTAR_NOTICE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"
#include "session/statement.h"

/*
 * When a statement that goes on waiting is to call rstar_notice_look(); 0:
 * never again.  The time counts from here, or the last result.
 */
extern TimestampTz rstar_notice_due(RstarStatement *statement);

/*
 * If that time has come: a NOTICE, once in a statement, when no endpoint of the
 * server is in use, or the queue is paused.  May look the server's name up, and
 * raises what that does.
 */
extern void rstar_notice_look(RstarStatement *statement, Oid serverid);

/*
 * A call that nobody has made ahead waits: when a statement, all of its parts
 * together, has many of these, the session is told, once.
 */
extern void rstar_notice_serial(void);

/*
 * A server has answered: when it has said that its option "dialect" is not its
 * own, the session is told, once of each server and dialect.  May look the
 * server up, and raises what that does.
 */
extern void rstar_notice_dialect(Oid serverid);

/*
 * Why there was no answer since that time, as far as is known, as the detail of
 * RSTAR_STATUS_DEADLINE: UTF-8, "" if it is not.  Never raises.
 */
extern void rstar_notice_reason(Oid serverid, TimestampTz since, char detail[RSTAR_DETAIL_LEN]);

#endif							/* RSTAR_NOTICE_H */
