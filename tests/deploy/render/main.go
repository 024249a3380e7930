// Reads Compose files and kustomizations the way `docker compose config` and `kustomize build` do.
//
//	render compose FILE...     the whole project with every profile, as JSON; variables from the environment
//	render kustomize FOLDER    the manifests, as YAML
//
// Both work offline, without an engine or a cluster. Exit status 1 and a line where something is wrong.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: render compose FILE... | render kustomize FOLDER"))
	}
	var text []byte
	var err error
	switch os.Args[1] {
	case "compose":
		text, err = compose(os.Args[2:])
	case "kustomize":
		text, err = kustomize(os.Args[2])
	default:
		err = fmt.Errorf("no such command: %s", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
	os.Stdout.Write(text)
}

func compose(files []string) ([]byte, error) {
	options, err := cli.NewProjectOptions(files, cli.WithOsEnv, cli.WithProfiles([]string{"*"}),
		cli.WithResolvedPaths(true), cli.WithInterpolation(true), cli.WithConsistency(true))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return project.MarshalJSON()
}

func kustomize(folder string) ([]byte, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
