// SPDX-License-Identifier: MIT
/*
 * version.c - kernels that may perform a call twice.
 *
 * Linux 5.19 has WAIT_KILLABLE_RECV; until "seccomp: Fix a race with WAIT_KILLABLE_RECV
 * if the tracer replies too fast" (6.18, and stable 6.17.3, 6.12.53, 6.6.112, 6.1.156) a
 * signal that comes just before the notification is received, and an answer that comes
 * before the caller runs again, let the caller ask a second time for what has been done:
 *
 *	caller, interruptible			supervisor
 *	a signal wakes it
 *						receives, performs, answers
 *	takes the lock: not SENT (it is
 *	REPLIED): goes to its handler, asks again
 *						performs again
 *
 * A munmap done twice takes away what another thread was given in between, and nobody
 * can tell it from a munmap made twice. So those kernels are refused.
 *
 * Distributions keep the number of their first release ("6.1.0-40-amd64") and name the
 * stable one in uname's version ("Debian 6.1.158-1"). What is not understood is
 * refused.
 */
#include <string.h>
#include <sys/utsname.h>

#include "source/seccomp/seccomp.h"

static const char *number(const char *p, unsigned int *value)
{
	*value = 0;
	while (*p >= '0' && *p <= '9' && *value < 100000)
		*value = *value * 10 + (unsigned int)(*p++ - '0');
	return p;
}

/* "a.b.c"; c may be missing. */
static void parse(const char *p, unsigned int v[3])
{
	v[0] = v[1] = v[2] = 0;
	p = number(p, &v[0]);
	if (*p == '.')
		p = number(p + 1, &v[1]);
	if (*p == '.')
		number(p + 1, &v[2]);
}

static bool has_fix(const unsigned int v[3])
{
	static const unsigned int stable[][3] = {
		{6, 17, 3}, {6, 12, 53}, {6, 6, 112}, {6, 1, 156}};

	if (v[0] > 6 || (v[0] == 6 && v[1] >= 18))
		return true;
	for (size_t i = 0; i < sizeof(stable) / sizeof(stable[0]); i++)
		if (v[0] == stable[i][0] && v[1] == stable[i][1])
			return v[2] >= stable[i][2];
	return false;
}

bool hmmu_seccomp_once(const char *release, const char *version)
{
	const char *debian = strstr(version, "Debian ");
	unsigned int v[3];

	parse(debian ? debian + 7 : release, v);
	return has_fix(v);
}

const char *hmmu_seccomp_kernel(void)
{
	struct utsname u;

	if (uname(&u))
		return "uname failed";
	return hmmu_seccomp_once(u.release, u.version)
		       ? NULL
		       : "this kernel may perform a notified call twice when a signal "
			 "comes (fixed in 6.18, 6.17.3, 6.12.53, 6.6.112, 6.1.156)";
}
