// SPDX-License-Identifier: MIT
/*
 * machine.c - what of the kernel's the sources need is there, and what would make it
 * better. Each thing is tried, in a child where it would leave a trace, and a refusal is
 * told by the name of who refuses: the kernel's age, a sysctl, or a seccomp filter that
 * somebody (a container's runtime) has put on this process.
 */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define USER_MODE_ONLY 1		 /* UFFD_USER_MODE_ONLY, Linux 5.11 */
#define WP_ASYNC (1ULL << 15)		 /* UFFD_FEATURE_WP_ASYNC, Linux 6.7 */
#define IOCTL_PAGEMAP_SCAN 0xc0606610UL	 /* Linux 6.7 */
#define IOCTL_PROCMAP_QUERY 0xc0686611UL /* Linux 6.11 */

__attribute__((format(printf, 4, 5))) static void fact(struct doctor *d, const char *name,
						       bool good, const char *format, ...)
{
	struct fact *f = &d->fact[d->nfacts];
	va_list args;

	if (d->nfacts == MAX_FACTS)
		return;
	d->nfacts++;
	f->name = name;
	f->good = good;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
}

static int number_in(const char *name, const char *key)
{
	char line[256];
	FILE *f = fopen(name, "re");
	int value = -1;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		value = atoi(line + strlen(key));
		break;
	}
	fclose(f);
	return value;
}

static bool filtered(void)
{
	return number_in("/proc/self/status", "Seccomp:") == SECCOMP_MODE_FILTER;
}

/* Who refuses: @absent is what ENOSYS means without a filter. */
static void refused(struct doctor *d, const char *name, int err, const char *absent)
{
	if (filtered() && (err == EPERM || err == ENOSYS || err == EACCES))
		fact(d, name, false,
		     "refused (%s) by a seccomp filter on this process, as a container's "
		     "runtime sets it up: allow %s in its profile",
		     strerrorname_np(err), name);
	else if (err == ENOSYS)
		fact(d, name, false, "not there: %s", absent);
	else
		fact(d, name, false, "refused (%s): %s", strerrorname_np(err),
		     err == EPERM ? "by a sysctl or a security module" : strerror(err));
}

static void userfaultfd_fact(struct doctor *d)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);
	int sysctl = number_in("/proc/sys/vm/unprivileged_userfaultfd", "");

	if (fd < 0) {
		refused(d, "userfaultfd", errno, "a kernel with CONFIG_USERFAULTFD has it");
		return;
	}
	if (ioctl(fd, UFFDIO_API, &api))
		api.features = 0;
	close(fd);
	if (!(api.features & WP_ASYNC))
		fact(d, "userfaultfd", false,
		     "there, but not WP_ASYNC: Linux 6.7 has it, and watches every kind of "
		     "memory with it");
	else
		fact(d, "userfaultfd", true,
		     "works, without privilege (vm.unprivileged_userfaultfd = %d does not "
		     "matter: UFFD_USER_MODE_ONLY)",
		     sysctl);
}

static void seccomp_fact(struct doctor *d)
{
	unsigned int action = SECCOMP_RET_USER_NOTIF;

	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action))
		refused(d, "seccomp", errno == EOPNOTSUPP ? ENOSYS : errno,
			"Linux 5.0 has its notifications");
	else
		fact(d, "seccomp", true, "works, without privilege%s",
		     filtered() ? "; a filter is on this process already" : "");
}

static void io_uring_fact(struct doctor *d)
{
	char params[256] = {0};
	int sysctl = number_in("/proc/sys/kernel/io_uring_disabled", "");
	int fd = (int)syscall(SYS_io_uring_setup, 1, params);

	if (fd >= 0) {
		close(fd);
		fact(d, "io_uring", true, "works: it changes memory past hooks and seccomp");
	} else if (errno == EPERM && sysctl > 0) {
		fact(d, "io_uring", false, "refused (EPERM): kernel.io_uring_disabled = %d",
		     sysctl);
	} else {
		refused(d, "io_uring_setup", errno, "a kernel with CONFIG_IO_URING has it");
	}
}

static bool has_ioctl(const char *name, unsigned long request)
{
	char argument[128] = {0};
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	bool has;

	if (fd < 0)
		return false;
	/* An empty argument is refused, but not as ENOTTY. */
	has = !ioctl(fd, request, argument) || errno != ENOTTY;
	close(fd);
	return has;
}

static void kernel_fact(struct doctor *d)
{
	struct utsname u;
	bool scan = has_ioctl("/proc/self/pagemap", IOCTL_PAGEMAP_SCAN);
	bool query = has_ioctl("/proc/self/maps", IOCTL_PROCMAP_QUERY);

	uname(&u);
	fact(d, "kernel", scan && query, "Linux %.40s: PAGEMAP_SCAN %s, PROCMAP_QUERY %s",
	     u.release, scan ? "yes" : "no (6.7 has it)", query ? "yes" : "no (6.11 has it)");
}

void machine_facts(struct doctor *d)
{
	kernel_fact(d);
	userfaultfd_fact(d);
	seccomp_fact(d);
	io_uring_fact(d);
#ifndef HMMU_DOCTOR_URING
	fact(d, "liburing", false, "this hmmu was built without it: no io_uring column");
#endif
	if (d->traces)
		fact(d, "ptrace", true, "works: the end of each bracket was looked at");
	else
		fact(d, "ptrace", false,
		     "refused: \"bracketed\" rests on the callback alone, and what ld.so does "
		     "in dlopen was not tried; allow ptrace of own children");
}
