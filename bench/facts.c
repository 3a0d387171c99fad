// SPDX-License-Identifier: MIT
/* facts.c - what figures depend on: processor, kernel, compiler, load. No names of hosts. */
#include "bench.h"

#include <ctype.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

/* The first line of /proc/cpuinfo that begins with @name; "" if there is none. */
static void cpuinfo(const char *name, char *value, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[4096];

	value[0] = '\0';
	while (file && fgets(line, sizeof(line), file)) {
		char *colon = strchr(line, ':');

		if (!colon || strncmp(line, name, strlen(name)) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(value, size, "%s", colon[1] ? colon + 2 : "");
		break;
	}
	if (file)
		fclose(file);
}

static bool is_virtual(void)
{
	char flags[4096];

	cpuinfo("flags", flags, sizeof(flags));
	return strstr(flags, " hypervisor") != NULL;
}

static void add(struct fact *fact, size_t *n, const char *name, const char *value)
{
	if (!*value || *n == FACTS)
		return;
	fact[*n].name = name;
	snprintf(fact[(*n)++].value, sizeof(fact->value), "%s", value);
}

static void day(char *text, size_t size, const char *format)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, size, format, &tm);
}

size_t facts(struct fact *fact)
{
	struct utsname name;
	struct sysinfo info;
	double load = 0;
	char text[128];
	size_t n = 0;

	uname(&name);
	day(text, sizeof(text), "%Y-%m-%dT%H:%MZ");
	add(fact, &n, "date", text);
	cpuinfo("model name", text, sizeof(text));
	add(fact, &n, "cpu", text);
	add(fact, &n, "architecture", name.machine);
	add(fact, &n, "virtual", is_virtual() ? "yes" : "no");
	snprintf(text, sizeof(text), "%d", cpus());
	add(fact, &n, "cpus", text);
	if (sysinfo(&info) == 0) {
		snprintf(text, sizeof(text), "%.1f GiB",
			 (double)info.totalram * info.mem_unit / (1 << 30));
		add(fact, &n, "memory", text);
	}
	add(fact, &n, "kernel", name.release);
	add(fact, &n, "libc", gnu_get_libc_version());
	add(fact, &n, "compiler", __VERSION__);
	if (getloadavg(&load, 1) == 1) {
		snprintf(text, sizeof(text), "%.1f", load);
		add(fact, &n, "load at the end", text);
	}
	return n;
}

void facts_slug(char *text, size_t size)
{
	char date[32], cpu[96], *to = cpu;
	struct utsname name;

	uname(&name);
	day(date, sizeof(date), "%Y-%m-%d");
	cpuinfo("model name", cpu, sizeof(cpu));
	if (!*cpu)
		snprintf(cpu, sizeof(cpu), "%s", name.machine);
	for (const char *c = cpu; *c; c++) {
		if (isalnum((unsigned char)*c))
			*to++ = (char)tolower((unsigned char)*c);
		else if (to > cpu && to[-1] != '-')
			*to++ = '-';
	}
	if (to > cpu && to[-1] == '-')
		to--;
	*to = '\0';
	snprintf(text, size, "%s-%s-%d", date, cpu, cpus());
}
