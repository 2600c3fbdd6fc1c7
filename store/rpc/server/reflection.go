package server

import (
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"castar/protos"
	"castar/store/rpc/internal/wire"
)

// descriptors returns the descriptors of everything that a server offers. Those of snix are those of tvix under other
// names.
func descriptors() (*protoregistry.Files, error) {
	files := new(protoregistry.Files)
	for _, f := range []protoreflect.FileDescriptor{
		grpc_health_v1.File_grpc_health_v1_health_proto,
		protos.File_protos_rpc_bulk_proto,
		reflectv1.File_grpc_reflection_v1_reflection_proto, reflectv1alpha.File_grpc_reflection_v1alpha_reflection_proto,
	} {
		if err := files.RegisterFile(f); err != nil {
			return nil, err
		}
	}
	for _, f := range []protoreflect.FileDescriptor{ // each after those that it imports
		protos.File_protos_castore_proto, protos.File_protos_rpc_blobstore_proto, protos.File_protos_rpc_directory_proto,
	} {
		if err := files.RegisterFile(f); err != nil {
			return nil, err
		}
		renamed, err := renamed(protodesc.ToFileDescriptorProto(f))
		if err != nil {
			return nil, err
		}
		of, err := protodesc.NewFile(renamed, files)
		if err == nil {
			err = files.RegisterFile(of)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", renamed.GetName(), err)
		}
	}
	return files, nil
}

// renamed returns a descriptor with every text in it as snix has it.
func renamed(d *descriptorpb.FileDescriptorProto) (*descriptorpb.FileDescriptorProto, error) {
	quoted := regexp.MustCompile(`"[^"]*"`)
	text := quoted.ReplaceAllStringFunc(prototext.Format(d), func(s string) string { return `"` + toSnix(s[1:len(s)-1]) + `"` })
	of := new(descriptorpb.FileDescriptorProto)
	return of, prototext.Unmarshal([]byte(text), of)
}

// toSnix returns what snix says for a text in a descriptor of tvix: its package and path, and entry for node.
func toSnix(text string) string {
	switch of, ok := strings.CutPrefix(text, "."+wire.TvixPackage+"."); {
	case ok:
		return "." + wire.SnixPackage + "." + toSnix(of)
	case text == wire.TvixPackage:
		return wire.SnixPackage
	case text == "node":
		return "entry"
	case strings.HasSuffix(text, ".proto"):
		return "snix/castore/" + text
	}
	if before, ok := strings.CutSuffix(text, "Node"); ok {
		return before + "Entry"
	}
	return text
}

// registerReflection lets clients ask what a server offers, in both versions of that service.
func registerReflection(s *grpc.Server) error {
	files, err := descriptors()
	if err != nil {
		return err
	}
	o := reflection.ServerOptions{Services: s, DescriptorResolver: files, ExtensionResolver: new(protoregistry.Types)}
	reflectv1.RegisterServerReflectionServer(s, reflection.NewServerV1(o))
	reflectv1alpha.RegisterServerReflectionServer(s, reflection.NewServer(o))
	return nil
}
