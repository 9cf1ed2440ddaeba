/* The floor of a scan: what the kernel calls alone cost.
 *
 * floor scan DIR: every regular file below DIR is opened, fstat'ed, its first 4 KiB read, closed.
 * floor walk DIR: every directory below DIR is read, every entry fstatat'ed.
 * Prints the seconds that took, and the number of files.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long files;
static int opens;

static void look(int directory, const char *name)
{
    static char head[4096];
    struct stat status;
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return;
    if (fstat(file, &status) == 0 && pread(file, head, sizeof head, 0) >= 0)
        files++;
    close(file);
}

static void walk(int directory)
{
    DIR *stream = fdopendir(directory);
    struct dirent *entry;
    if (!stream)
        return;
    while ((entry = readdir(stream))) {
        struct stat status;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (entry->d_type == DT_DIR) {
            int below = openat(directory, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0)
                walk(below);
        } else if (opens) {
            look(directory, entry->d_name);
        } else if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
            files++;
        }
    }
    closedir(stream);
}

int main(int count, char **arguments)
{
    struct timespec start, end;
    int root;
    if (count != 3 || (root = open(arguments[2], O_RDONLY | O_DIRECTORY)) < 0)
        return 2;
    opens = !strcmp(arguments[1], "scan");
    clock_gettime(CLOCK_MONOTONIC, &start);
    walk(root);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.6f %ld\n", (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9, files);
    return 0;
}
