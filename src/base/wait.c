/*-------------------------------------------------------------------------
 *
 * wait.c
 *		How a session sleeps.
 *
 * A session that waits for scores does not touch its connection, so it would
 * not find out for minutes that there is nobody any more to take the answer,
 * while its requests hold a GPU.  PostgreSQL looks itself only with
 * client_connection_check_interval set, which it is not by default.
 *
 * Here the end of the connection is one more event that wakes: it is seen at
 * once, there is no clock, and a sleep is one system call as with WaitLatch().
 * The kernel reports that the other side has closed, which further commands
 * that wait to be read do not hide, and TLS neither.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "base/compat.h"
#include "base/wait.h"

/* Of no interest here, and their headers may not be installed */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq.h"

static void wait_with_client(long timeout, uint32 wait_event);

void
rstar_wait(long timeout, uint32 wait_event)
{
	/* There is no such set without a client, as in background workers */
	if (FeBeWaitSet != NULL && WaitEventSetCanReportClosed())
		wait_with_client(timeout, wait_event);
	else
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * In the set that PostgreSQL waits in for the client's next command.  Whoever
 * uses it says first what is to be heard of the socket, which costs nothing
 * when it was the same before.
 */
static void
wait_with_client(long timeout, uint32 wait_event)
{
	WaitEvent	events[FeBeWaitSetNEvents];
	int			n;

	ModifyWaitEvent(FeBeWaitSet, FeBeWaitSetSocketPos, WL_SOCKET_CLOSED, NULL);
	n = WaitEventSetWait(FeBeWaitSet, timeout, events, lengthof(events), wait_event);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_POSTMASTER_DEATH)
			proc_exit(1);
		/* ProcessInterrupts() takes it from here */
		if (events[i].events & WL_SOCKET_CLOSED)
			ClientConnectionLost = InterruptPending = true;
	}
}
