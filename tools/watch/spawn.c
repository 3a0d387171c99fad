// SPDX-License-Identifier: MIT
/*
 * spawn.c - the command is found, started under the module, and its end passed on.
 *
 * Signals are those of time(1) and timeout(1): an interrupt from the terminal reaches the
 * command by itself, and the watcher outlives it; a SIGTERM or SIGHUP sent to the watcher
 * is passed on. When the command has ended and only its children are left, any of them
 * makes the watcher report and leave. The command starts with the dispositions and the
 * mask that the watcher was started with.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "watch.h"

#define MODULE "libhmmu-watch.so"

static sigset_t original;
static struct sigaction original_pipe;

/* Beside the command in the build tree; where it is installed otherwise. */
int watch_find_module(char *path, size_t size)
{
	static const char *const places[] = {"/watch_module", "/../" HMMU_LIBDIR "/hmmu", NULL};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *dir;

	self[n > 0 ? n : 0] = '\0';
	dir = dirname(self);
	for (size_t i = 0; places[i]; i++)
		if ((size_t)snprintf(path, size, "%s%s/" MODULE, dir, places[i]) < size &&
		    !access(path, R_OK))
			return 0;
	snprintf(path, size, "%s/hmmu/" MODULE, HMMU_PREFIX "/" HMMU_LIBDIR);
	return access(path, R_OK) ? -errno : 0;
}

static int usable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno == EACCES ? -EACCES : -ENOENT;
	if (S_ISDIR(st.st_mode) || access(path, X_OK))
		return -EACCES;
	return 0;
}

/* As execvp() would. 0, -ENOENT, -EACCES: found, but not to be executed. */
int watch_find_command(const char *name, char *path, size_t size)
{
	const char *dirs = getenv("PATH");
	int ret = -ENOENT;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, size, "%s", name) >= size)
			return -ENOENT;
		return usable(path);
	}
	if (!*name)
		return -ENOENT;
	for (dirs = dirs ? dirs : "/bin:/usr/bin";; dirs++) {
		int n = (int)strcspn(dirs, ":"), this;

		if ((size_t)snprintf(path, size, "%.*s%s%s", n, dirs, n ? "/" : "", name) <
		    size) {
			this = usable(path);
			if (!this)
				return 0;
			if (this == -EACCES)
				ret = this;
		}
		dirs += n;
		if (!*dirs)
			return ret;
	}
}

static void put_environment(const struct watch *w, const char *module, pid_t watcher)
{
	const char *before = getenv("LD_PRELOAD");
	char where[64];
	char *all;

	snprintf(where, sizeof(where), "/proc/%d/fd/%d", watcher, w->fd);
	setenv(WATCH_ENV, where, 1);
	if (before && *before && asprintf(&all, "%s:%s", module, before) > 0)
		setenv("LD_PRELOAD", all, 1);
	else
		setenv("LD_PRELOAD", module, 1);
}

/* 0, or -errno of the exec. */
int watch_spawn(struct watch *w, const char *path, const char *module)
{
	pid_t watcher = getpid();
	int tell[2], error = 0;
	ssize_t n;

	if (pipe2(tell, O_CLOEXEC))
		return -errno;
	w->child = fork();
	if (w->child < 0)
		return -errno;
	if (!w->child) {
		sigaction(SIGPIPE, &original_pipe, NULL);
		sigprocmask(SIG_SETMASK, &original, NULL);
		put_environment(w, module, watcher);
		execv(path, w->options.command);
		/* A script without #!: as execvp() and the shell do. */
		if (errno == ENOEXEC)
			execvp(path, w->options.command);
		error = errno;
		if (write(tell[1], &error, sizeof(error)) < 0)
			_exit(126);
		_exit(126);
	}
	close(tell[1]);
	do {
		n = read(tell[0], &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	close(tell[0]);
	if (n == (ssize_t)sizeof(error)) {
		waitpid(w->child, NULL, 0);
		return -error;
	}
	return 0;
}

/* Before the command is started. */
int watch_signals(void)
{
	static const int ours[] = {SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGHUP};
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigaddset(&set, ours[i]);
	sigprocmask(SIG_BLOCK, &set, &original);
	/* A write to a reader that is gone shall be an error, not the end. */
	sigaction(SIGPIPE, &ignore, &original_pipe);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void reap(struct watch *w)
{
	int status;

	if (!w->child_ended && waitpid(w->child, &status, WNOHANG) == w->child) {
		w->child_ended = true;
		w->status = status;
	}
}

void watch_on_signals(struct watch *w, int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (number == SIGCHLD)
			reap(w);
		else if (w->child_ended)
			w->told_to_end = true;
		/* The terminal's reach the command by themselves. */
		else if (number == SIGTERM || number == SIGHUP || info.ssi_code <= 0)
			kill(w->child, number);
	}
	reap(w);
}

/* As the command ended: its status, or its signal. */
int watch_exit(const struct watch *w)
{
	const struct rlimit none = {0, 0};
	sigset_t set;
	int number;

	if (WIFEXITED(w->status))
		return WEXITSTATUS(w->status);
	number = WTERMSIG(w->status);
	/* The core, if any, is the command's. */
	setrlimit(RLIMIT_CORE, &none);
	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	return 128 + number;
}
